#include "models/kernels/cross_entropy.h"

#include <span>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/logsumexp.h>

#include "base/check.h"
#include "models/kernels/cpu/cross_entropy.h"
#include "models/kernels/dispatch.h"

namespace weft {
namespace {

void check_operands(const Tensor& logits, const Tensor& targets) {
  const at::ScalarType type = logits.scalar_type();
  WEFT_CHECK(type == at::kFloat || type == at::kDouble || type == at::kBFloat16,
             "cross_entropy is for fp32, fp64 and bf16");
  WEFT_CHECK(logits.dim() == 2 && logits.is_contiguous() && targets.dim() == 1 &&
                 targets.size(0) == logits.size(0) && targets.scalar_type() == at::kLong,
             "cross_entropy of logits ", logits.sizes(), " and targets ", targets.sizes());
  WEFT_CHECK(!logits.requires_grad() || !at::GradMode::is_enabled(),
             "cross_entropy: no gradient flows through it");
}

}  // namespace

CrossEntropy cross_entropy(Tensor& logits, const Tensor& targets_in, const Penalties& penalties,
                           std::optional<double> gradient_scale, cpu::Isa isa) {
  check_operands(logits, targets_in);
  if (!logits.is_cpu()) {
    return cross_entropy_reference(logits, targets_in, penalties, gradient_scale);
  }
  const Tensor targets = targets_in.contiguous();
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  for (const int64_t target : std::span(targets.const_data_ptr<int64_t>(), rows)) {
    WEFT_CHECK(target < vocab, "cross_entropy: target ", target, " of ", vocab);
  }
  const at::TensorOptions wide = logits.options().dtype(wide_type(logits.scalar_type()));
  CrossEntropy result{at::empty({rows}, wide), at::empty({rows}, wide)};
  with_storage(logits, [&](auto s) {
    using S = decltype(s);
    cpu::cross_entropy<S>({.rows = rows,
                           .vocab = vocab,
                           .logits = values<S>(logits),
                           .targets = targets.const_data_ptr<int64_t>(),
                           .nll = values<Compute<S>>(result.nll),
                           .penalty = values<Compute<S>>(result.penalty),
                           .z_loss = penalties.z_loss,
                           .label_smoothing = penalties.label_smoothing,
                           .gradient = gradient_scale.has_value(),
                           .scale = gradient_scale.value_or(0)},
                          isa);
  });
  return result;
}

CrossEntropy cross_entropy_reference(Tensor& logits, const Tensor& targets,
                                     const Penalties& penalties,
                                     std::optional<double> gradient_scale) {
  check_operands(logits, targets);
  const at::NoGradGuard no_grad;
  const Tensor z = logits.to(wide_type(logits.scalar_type()));
  const Tensor used = targets.ge(0), index = targets.clamp_min(0).unsqueeze(1);
  const Tensor lse = z.logsumexp({1}), chosen = z.gather(1, index).squeeze(1);
  const Tensor penalty =
      penalties.z_loss * lse.square() + penalties.label_smoothing * (chosen - z.mean(1));
  CrossEntropy result{(lse - chosen).masked_fill(~used, 0), penalty.masked_fill(~used, 0)};
  if (!gradient_scale.has_value()) return result;
  const double smoothing = penalties.label_smoothing;
  Tensor g = (z - lse.unsqueeze(1)).exp() * (1 + 2 * penalties.z_loss * lse.unsqueeze(1)) -
             smoothing / static_cast<double>(z.size(1));
  g = g.scatter_add(1, index, at::full_like(index, smoothing - 1, g.options()));
  logits.copy_((g * *gradient_scale).masked_fill(~used.unsqueeze(1), 0));
  return result;
}

}  // namespace weft
