#include "models/kernels/block_attention.h"

#include <algorithm>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/block_attention.h"
#include "models/kernels/cpu/block_product.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/kept_results.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_inputs(const Tensor& q, const Tensor& k, const Tensor& v,
                  std::span<const Segment> documents, int64_t window) {
  WEFT_CHECK(has_block_attention(q), "block_attention of ", q.toString(), " ", q.sizes(),
             " on this machine");
  WEFT_CHECK(q.dim() == 4 && k.dim() == 4 && k.sizes() == v.sizes() && k.size(0) == q.size(0) &&
                 k.size(1) == q.size(1) && k.size(2) > 0 && q.size(2) % k.size(2) == 0 &&
                 k.size(3) == q.size(3),
             "block_attention of q ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
  WEFT_CHECK(k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type() &&
                 k.is_cpu() && v.is_cpu(),
             "block_attention: q, k and v must be of one type on the CPU");
  WEFT_CHECK(window >= 0, "block_attention with a window of ", window);
  int64_t tokens = 0;
  for (const Segment& s : documents) {
    WEFT_CHECK(
        0 <= s.row && s.row < q.size(0) && 0 <= s.begin && s.begin < s.end && s.end <= q.size(1),
        "block_attention: no tokens [", s.begin, ", ", s.end, ") of row ", s.row, " in ",
        q.sizes());
    const bool follows = s.row * q.size(1) + s.begin == tokens;
    WEFT_CHECK(follows, "block_attention: tokens [", s.begin, ", ", s.end, ") of row ", s.row,
               " do not follow on the document before them");
    tokens += s.end - s.begin;
  }
  WEFT_CHECK(tokens == q.size(0) * q.size(1), "block_attention: documents of ", tokens,
             " tokens in ", q.sizes());
}

template <class S>
cpu::Heads<S> heads(const Tensor& t) {
  return {static_cast<S*>(t.data_ptr()), t.stride(0), t.stride(1), t.stride(2)};
}

template <class S>
cpu::AttentionInputs<S> raw(const Tensor& q, const Tensor& k, const Tensor& v,
                            std::span<const Segment> documents, int64_t window) {
  return {.heads = q.size(2),
          .kv_heads = k.size(2),
          .width = q.size(3),
          .length = q.size(1),
          .window = window,
          .segments = documents.data(),
          .num_segments = static_cast<int64_t>(documents.size()),
          .q = heads<const S>(q),
          .k = heads<const S>(k),
          .v = heads<const S>(v)};
}

// f(S{}) for the storage types that have products.
template <class F>
void with_product_type(const Tensor& t, const F& f) {
  if (t.scalar_type() == at::kFloat) {
    f(float{});
  } else {
    f(Bf16{});
  }
}

struct Output {
  Tensor y, log_sums;
};

// Pairs of a query and a key that it sees, in all documents.
double pairs_of(std::span<const Segment> documents, int64_t window) {
  double pairs = 0;
  for (const Segment& s : documents) {
    const auto length = static_cast<double>(s.end - s.begin);
    const double seen = window == 0 ? length : std::min(length, static_cast<double>(window));
    pairs += seen * (seen + 1) / 2 + (length - seen) * seen;
  }
  return pairs;
}

// So many products of [queries, e] and [e, keys], or of that cost, for every head.
Work attention_work(const Tensor& q, int products, double pairs, Work work) {
  work.flops = 2.0 * products * pairs * static_cast<double>(q.size(2) * q.size(3));
  return work;
}

Output run_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                   std::span<const Segment> documents, int64_t window, cpu::Isa isa) {
  Output out{at::empty(q.sizes(), q.options()),
             at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat))};
  const ProfileSpan span(
      "weft::block_attention", WorkKind::kAttention,
      attention_work(q, 2, pairs_of(documents, window), moving({q, k, v, out.y})));
  if (q.numel() == 0) return out;
  with_product_type(q, [&](auto s) {
    using S = decltype(s);
    cpu::block_attention(cpu::AttentionForward<S>{raw<S>(q, k, v, documents, window),
                                                  heads<S>(out.y), values<float>(out.log_sums)},
                         isa);
  });
  return out;
}

// As run_forward, or what a first run has kept of it.
Output known_or_run(const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const Segment> documents, int64_t window, cpu::Isa isa) {
  if (q.numel() == 0) return run_forward(q, k, v, documents, window, isa);
  if (KeptResults* found = kept_for_second_run()) {
    const Tensor y = found->take();
    return {y, found->take()};
  }
  const Output out = run_forward(q, k, v, documents, window, isa);
  if (KeptResults* kept = kept_by_first_run()) {
    kept->keep(out.y);
    kept->keep(out.log_sums);
  }
  return out;
}

class BlockAttention : public torch::autograd::Function<BlockAttention> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Segment>& documents, int64_t window, cpu::Isa isa) {
    const Output out = known_or_run(q, k, v, documents, window, isa);
    ctx->save_for_backward({q, k, v, out.y, out.log_sums});
    Tensor flat = at::empty({static_cast<int64_t>(documents.size()), 3}, at::kLong);
    auto* numbers = flat.mutable_data_ptr<int64_t>();
    for (const Segment& s : documents) {
      for (const int64_t number : {s.row, s.begin, s.end}) *numbers++ = number;
    }
    ctx->saved_data["documents"] = flat;
    ctx->saved_data["window"] = window;
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return out.y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &y = saved[3];
    const Tensor dy = with_dense_channels(grads[0]);
    const Tensor flat = ctx->saved_data["documents"].toTensor();
    const auto numbers = flat.accessor<int64_t, 2>();
    std::vector<Segment> documents;
    for (int64_t i = 0; i < flat.size(0); ++i) {
      documents.push_back({numbers[i][0], numbers[i][1], numbers[i][2]});
    }
    WEFT_CHECK(!at::GradMode::is_enabled(), "block_attention is differentiated at most once");
    const auto like = [](const Tensor& t) { return at::empty(t.sizes(), t.options()); };
    const Tensor dq = like(q), dk = like(k), dv = like(v);
    if (q.numel() == 0) return {dq, dk.zero_(), dv.zero_(), {}, {}, {}};
    const int64_t window = ctx->saved_data["window"].toInt();
    const ProfileSpan span(
        "weft::block_attention_backward", WorkKind::kAttention,
        attention_work(q, 5, pairs_of(documents, window), moving({q, k, v, y, dy, dq, dk, dv})));
    with_product_type(q, [&](auto s) {
      using S = decltype(s);
      cpu::block_attention(
          cpu::AttentionBackward<S>{raw<S>(q, k, v, documents, window), heads<const S>(y),
                                    heads<const S>(dy), values<float>(saved[4]), heads<S>(dq),
                                    heads<S>(dk), heads<S>(dv)},
          static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt()));
    });
    return {dq, dk, dv, {}, {}, {}};
  }
};

}  // namespace

bool has_block_attention(const Tensor& q) {
  if (!q.is_cpu()) return false;
  if (q.scalar_type() == at::kFloat) return cpu::has_block_products<float>();
  return q.scalar_type() == at::kBFloat16 && q.size(3) % cpu::kTogether<Bf16> == 0 &&
         cpu::has_block_products<Bf16>();
}

Tensor block_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                       std::span<const Segment> documents, int64_t window, cpu::Isa isa) {
  check_inputs(q, k, v, documents, window);
  return BlockAttention::apply(
      with_dense_channels(q), with_dense_channels(k), with_dense_channels(v),
      std::vector<Segment>(documents.begin(), documents.end()), window, isa);
}

}  // namespace weft
