#include "models/kernels/flash_attention.h"

#include <optional>
#include <tuple>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/kept_results.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of the tokens of all rows: [tokens, H, e].
struct Packed {
  Tensor q, k, v;
};

struct Options {
  int64_t longest, window;

  // How many tokens before itself a token sees; none: all.
  std::optional<int64_t> before() const {
    return window > 0 ? std::optional(window - 1) : std::nullopt;
  }
};

struct Output {
  Tensor y, log_sums;          // [tokens, H, e]; [H, tokens] fp32
  Tensor rng_state, rng_rest;  // of a dropout that isn't: the backward kernel asks for them
};

Output run_forward(const Packed& in, const Tensor& boundaries, const Options& options) {
  Output out;
  std::tie(out.y, out.log_sums, out.rng_state, out.rng_rest, std::ignore) =
      at::_flash_attention_forward(in.q, in.k, in.v, boundaries, boundaries, options.longest,
                                   options.longest, /*dropout_p=*/0.0, /*is_causal=*/true,
                                   /*return_debug_mask=*/false, /*scale=*/{}, options.before(),
                                   /*window_size_right=*/0);
  return out;
}

// As run_forward, or what a first run has kept of it.
Output known_or_run(const Packed& in, const Tensor& boundaries, const Options& options) {
  if (KeptResults* found = kept_for_second_run()) {
    Output out;
    for (Tensor* t : {&out.y, &out.log_sums, &out.rng_state, &out.rng_rest}) *t = found->take();
    return out;
  }
  const Output out = run_forward(in, boundaries, options);
  if (KeptResults* kept = kept_by_first_run()) {
    for (const Tensor* t : {&out.y, &out.log_sums, &out.rng_state, &out.rng_rest}) kept->keep(*t);
  }
  return out;
}

// LibTorch adds up the gradient of q atomically unless it is to fail where it cannot do without:
// with deterministic algorithms on, a warning alone is not enough for it.
class FailingIfNotDeterministic final {
 public:
  FailingIfNotDeterministic() : warn_only_(at::globalContext().deterministicAlgorithmsWarnOnly()) {
    set(/*warn_only=*/false);
  }
  ~FailingIfNotDeterministic() { set(warn_only_); }
  FailingIfNotDeterministic(const FailingIfNotDeterministic&) = delete;
  FailingIfNotDeterministic& operator=(const FailingIfNotDeterministic&) = delete;

 private:
  static void set(bool warn_only) {
    at::Context& context = at::globalContext();
    context.setDeterministicAlgorithms(context.deterministicAlgorithms(), warn_only);
  }
  bool warn_only_;
};

class FlashAttention final : public torch::autograd::Function<FlashAttention> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& boundaries, const Options& options) {
    const Output out = known_or_run({q, k, v}, boundaries, options);
    ctx->save_for_backward({q, k, v, boundaries, out.y, out.log_sums, out.rng_state, out.rng_rest});
    ctx->saved_data["longest"] = options.longest;
    ctx->saved_data["window"] = options.window;
    return out.y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "flash_attention is differentiated at most once");
    const variable_list s = ctx->get_saved_variables();
    const Options options{ctx->saved_data["longest"].toInt(), ctx->saved_data["window"].toInt()};
    const FailingIfNotDeterministic failing;
    const auto [dq, dk, dv] = at::_flash_attention_backward(
        grads[0].contiguous(), s[0], s[1], s[2], s[4], s[5], s[3], s[3], options.longest,
        options.longest, /*dropout_p=*/0.0, /*is_causal=*/true, s[6], s[7], /*scale=*/{},
        options.before(), /*window_size_right=*/0);
    return {dq, dk, dv, {}, {}};
  }
};

}  // namespace

bool has_flash_attention(const Tensor& q) {
  return q.is_cuda() && q.scalar_type() == at::kBFloat16 && has_flash_width(q.size(3));
}

Tensor flash_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                       const PackedDocuments& documents, int64_t window) {
  WEFT_CHECK(has_flash_attention(q), "no flash_attention for ", q.toString(), " ", q.sizes());
  const auto fits = [&](const Tensor& t) {
    return t.dim() == 4 && t.size(0) == q.size(0) && t.size(1) == q.size(1) &&
           t.size(3) == q.size(3) && t.sizes() == k.sizes() && t.scalar_type() == at::kBFloat16;
  };
  WEFT_CHECK(fits(k) && fits(v) && k.size(2) > 0 && q.size(2) % k.size(2) == 0,
             "flash_attention of q ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
  WEFT_CHECK(documents.boundaries.scalar_type() == at::kInt && documents.boundaries.is_cuda() &&
                 documents.boundaries.dim() == 1 && documents.boundaries.size(0) >= 1,
             "flash_attention: boundaries are int32 [documents + 1] on the device");
  WEFT_CHECK(window >= 0 && documents.longest >= 0, "flash_attention: a window of ", window,
             ", documents of ", documents.longest, " tokens");
  if (q.numel() == 0) return q;
  const auto packed = [](const Tensor& t) { return t.reshape({-1, t.size(2), t.size(3)}); };
  return FlashAttention::apply(packed(q), packed(k), packed(v), documents.boundaries,
                               Options{documents.longest, window})
      .view(q.sizes());
}

}  // namespace weft
