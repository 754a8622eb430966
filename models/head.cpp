#include "models/head.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/matmul.h"
#include "models/kernels/untracked.h"
#include "models/mini_sequences.h"

namespace weft {
namespace {

// What the head's loss gives over all slices.
struct Sums {
  Tensor nll, penalty;            // [] fp64
  Tensor hidden_grad, head_grad;  // [n, d], and [V, d] in the wide type; or undefined
};

Sums sum_slices(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                const LossWeights& weights, int64_t rows, Sums sums) {
  const bool with_gradients = sums.hidden_grad.defined() || sums.head_grad.defined();
  const std::optional<double> scale =
      with_gradients ? std::optional<double>(weights.target) : std::nullopt;
  sums.nll = sums.penalty = at::zeros({}, hidden.options().dtype(at::kDouble));
  Tensor memory;  // of the logits of the first slice, which is the largest
  for_each_slice(hidden.size(0), rows, [&](int64_t first, int64_t size) {
    const Tensor x = hidden.narrow(0, first, size);
    if (!memory.defined()) memory = at::empty({size, weight.size(0)}, x.options());
    Tensor z = memory.narrow(0, 0, size);
    multiply_into(z, x, weight.t());
    const CrossEntropy loss =
        cross_entropy(z, targets.narrow(0, first, size), weights.penalties, scale);
    sums.nll = sums.nll + loss.nll.sum(at::kDouble);
    sums.penalty = sums.penalty + loss.penalty.sum(at::kDouble);
    if (sums.hidden_grad.defined()) {
      Tensor dx = sums.hidden_grad.narrow(0, first, size);
      multiply_into(dx, z, weight);
    }
    if (sums.head_grad.defined()) multiply_into(sums.head_grad, z.t(), x, Into::kSum);
  });
  return sums;
}

class HeadLossFunction final : public torch::autograd::Function<HeadLossFunction> {
 public:
  // loss, nll_sum, penalty_sum
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx,
                                                const Tensor& hidden, const Tensor& weight,
                                                const Tensor& targets, const LossWeights& weights,
                                                int64_t rows, const Untracked& weight_sum) {
    Sums sums;
    const at::ScalarType type = hidden.scalar_type();
    if (hidden.requires_grad()) sums.hidden_grad = at::empty_like(hidden);
    if (weight.requires_grad() && weight_sum.tensor.defined()) {
      sums.head_grad = weight_sum.tensor;
    } else if (weight.requires_grad()) {
      sums.head_grad = at::zeros(weight.sizes(), weight.options().dtype(wide_type(type)));
    }
    sums = sum_slices(hidden.contiguous(), weight.to(type), targets, weights, rows, sums);
    ctx->saved_data["hidden"] = sums.hidden_grad;
    ctx->saved_data["head"] = weight_sum.tensor.defined() ? Tensor() : sums.head_grad;
    ctx->saved_data["added"] = weight_sum.tensor.defined();
    const Tensor loss = (sums.nll + sums.penalty) * weights.target;
    ctx->mark_non_differentiable({sums.nll, sums.penalty});
    return {loss, sums.nll, sums.penalty};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    WEFT_CHECK(!ctx->saved_data.empty() && !at::GradMode::is_enabled(),
               "head_loss is differentiated at most once");
    const Tensor hidden = ctx->saved_data["hidden"].toTensor();
    const Tensor head = ctx->saved_data["head"].toTensor();
    const bool added = ctx->saved_data["added"].toBool();
    // What autograd alone holds it takes without a copy.
    ctx->saved_data.clear();
    // A trainer has put its weight into LossWeights, and adds other losses to this one.
    const bool as_they_are = (added || grads[0].is_cpu()) && grads[0].item<double>() == 1;
    WEFT_CHECK(!added || as_they_are, "head_loss has added its weight's gradient, but is weighted");
    for (const Tensor& grad : {hidden, head}) {
      if (!grad.defined() || as_they_are) continue;
      grad.copy_(grad.to(grads[0].scalar_type()) * grads[0]);
    }
    return {hidden, head, {}, {}, {}, {}};
  }
};

}  // namespace

Tensor head_logits(const Tensor& hidden, const Tensor& weight) {
  const Tensor logits = linear_product(hidden, weight.to(hidden.scalar_type()));
  return logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
}

Tensor token_nll(const Tensor& logits, const Tensor& targets) {
  const at::NoGradGuard no_grad;
  Tensor rows = logits.reshape({-1, logits.size(-1)}).contiguous();
  return cross_entropy(rows, targets.reshape(-1), {}, std::nullopt).nll.reshape(targets.sizes());
}

HeadLoss head_loss(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                   const LossWeights& weights, int64_t rows, const Tensor& weight_gradient) {
  WEFT_CHECK(hidden.dim() == 2 && weight.dim() == 2 && weight.size(1) == hidden.size(1) &&
                 targets.dim() == 1 && targets.size(0) == hidden.size(0) && rows >= 1,
             "head_loss of ", hidden.sizes(), ", head ", weight.sizes(), ", targets ",
             targets.sizes(), ", by ", rows, " rows");
  WEFT_CHECK(!weight_gradient.defined() ||
                 (weight_gradient.sizes() == weight.sizes() &&
                  weight_gradient.scalar_type() == wide_type(hidden.scalar_type())),
             "head_loss: a gradient of ",
             weight_gradient.defined() ? weight_gradient.sizes() : at::IntArrayRef{});
  if (!at::GradMode::is_enabled()) {
    const Sums sums = sum_slices(hidden.contiguous(), weight.to(hidden.scalar_type()), targets,
                                 weights, rows, {});
    return {(sums.nll + sums.penalty) * weights.target, sums.nll, sums.penalty};
  }
  const auto results =
      HeadLossFunction::apply(hidden, weight, targets, weights, rows, Untracked{weight_gradient});
  return {results[0], results[1], results[2]};
}

}  // namespace weft
