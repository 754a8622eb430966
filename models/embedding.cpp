#include "models/embedding.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "base/profile.h"
#include "models/kernels/untracked.h"

namespace weft {
namespace {

// gradient[tokens[i]] += dy[i] for all i in this order, whatever the number of threads: each has
// some columns of all rows. tokens [n], dy [n, d], gradient [V, d], dense.
template <class T>
void add_rows(const Tensor& gradient, const Tensor& tokens, const Tensor& dy, int64_t padding_id) {
  constexpr int64_t kAdditionsPerThread = 16 << 10;  // some 10 us
  const int64_t n = tokens.size(0), width = dy.size(1);
  const auto* ids = tokens.const_data_ptr<int64_t>();
  const auto* from = dy.const_data_ptr<T>();
  auto* to = gradient.data_ptr<T>();
  at::parallel_for(0, width, kAdditionsPerThread / (n + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < n; ++i) {
      if (ids[i] == padding_id) continue;
      T* row = to + ids[i] * width;
      for (int64_t c = begin; c < end; ++c) row[c] += from[i * width + c];
    }
  });
}

class Lookup final : public torch::autograd::Function<Lookup> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& weight,
                        const Tensor& tokens, int64_t padding_id, const Untracked& sum) {
    ctx->save_for_backward({tokens});
    ctx->saved_data["padding"] = padding_id;
    ctx->saved_data["gradient"] = sum.tensor;
    return at::embedding(weight, tokens, padding_id);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "embedding_lookup has no second derivatives");
    const Tensor tokens = ctx->get_saved_variables()[0].reshape(-1).contiguous();
    const Tensor gradient = ctx->saved_data["gradient"].toTensor();
    const int64_t padding_id = ctx->saved_data["padding"].toInt();
    const Tensor dy = grads[0].reshape({tokens.size(0), gradient.size(1)}).contiguous();
    const ProfileSpan span("weft::embedding_backward", WorkKind::kElementwise,
                           {.bytes = 3.0 * static_cast<double>(dy.nbytes())});
    if (!gradient.is_cpu()) {
      gradient.add_(at::embedding_dense_backward(dy, tokens, gradient.size(0), padding_id, false));
    } else if (gradient.scalar_type() == at::kDouble) {
      add_rows<double>(gradient, tokens, dy, padding_id);
    } else {
      add_rows<float>(gradient, tokens, dy, padding_id);
    }
    return {Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor embedding_lookup(const Tensor& weight, const Tensor& tokens, int64_t padding_id,
                        const Tensor& gradient) {
  if (!gradient.defined() || !at::GradMode::is_enabled()) {
    return at::embedding(weight, tokens, padding_id);
  }
  WEFT_CHECK(weight.requires_grad() && gradient.sizes() == weight.sizes() &&
                 gradient.scalar_type() == weight.scalar_type() && gradient.is_contiguous() &&
                 (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kDouble),
             "embedding_lookup in ", weight.toString(), " ", weight.sizes(), ", gradient ",
             gradient.toString(), " ", gradient.sizes());
  return Lookup::apply(weight, tokens, padding_id, Untracked{gradient});
}

}  // namespace weft
