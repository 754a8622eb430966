#include "models/kernels/cross_entropy.h"

#include <span>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/cross_entropy.h"
#include "models/kernels/cuda/cross_entropy.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"

namespace weft {
namespace {

void check_operands(const Tensor& logits, const Tensor& targets) {
  const at::ScalarType type = logits.scalar_type();
  WEFT_CHECK(is_storage(type), "cross_entropy is for fp32, fp64 and bf16");
  WEFT_CHECK(logits.dim() == 2 && logits.is_contiguous() && targets.dim() == 1 &&
                 targets.size(0) == logits.size(0) && targets.scalar_type() == at::kLong &&
                 targets.device() == logits.device(),
             "cross_entropy of logits ", logits.sizes(), " and targets ", targets.sizes());
  WEFT_CHECK(!logits.requires_grad() || !at::GradMode::is_enabled(),
             "cross_entropy: no gradient flows through it");
}

template <class S>
void launch(const CrossEntropyRows<S>& rows, const Tensor& logits, cpu::Isa isa) {
  on_device(
      "cross_entropy", logits, [&](auto stream) { cuda::cross_entropy(rows, stream); },
      [&] {
        for (const int64_t target : std::span(rows.targets, rows.rows)) {
          WEFT_CHECK(target < rows.vocab, "cross_entropy: target ", target, " of ", rows.vocab);
        }
        cpu::cross_entropy(rows, isa);
      });
}

}  // namespace

CrossEntropy cross_entropy(Tensor& logits, const Tensor& targets_in, const Penalties& penalties,
                           std::optional<double> gradient_scale, cpu::Isa isa) {
  check_operands(logits, targets_in);
  if (!has_kernels_for(logits)) {
    return cross_entropy_reference(logits, targets_in, penalties, gradient_scale);
  }
  const Tensor targets = targets_in.contiguous();
  const int64_t rows = logits.size(0);
  const at::TensorOptions wide = logits.options().dtype(wide_type(logits.scalar_type()));
  CrossEntropy result{at::empty({rows}, wide), at::empty({rows}, wide)};
  const ProfileSpan span("weft::cross_entropy", WorkKind::kLoss,
                         gradient_scale ? moving({logits, logits}) : moving({logits}));
  with_storage(logits, [&](auto s) {
    using S = decltype(s);
    launch(CrossEntropyRows<S>{.rows = rows,
                               .vocab = logits.size(1),
                               .logits = values<S>(logits),
                               .targets = targets.const_data_ptr<int64_t>(),
                               .nll = values<Compute<S>>(result.nll),
                               .penalty = values<Compute<S>>(result.penalty),
                               .z_loss = penalties.z_loss,
                               .label_smoothing = penalties.label_smoothing,
                               .gradient = gradient_scale.has_value(),
                               .scale = gradient_scale.value_or(0)},
           logits, isa);
  });
  return result;
}

CrossEntropy cross_entropy_reference(Tensor& logits, const Tensor& targets,
                                     const Penalties& penalties,
                                     std::optional<double> gradient_scale) {
  check_operands(logits, targets);
  const at::NoGradGuard no_grad;
  const int64_t rows = logits.size(0);
  const at::ScalarType wide = wide_type(logits.scalar_type());
  if (rows == 0) {
    const Tensor none = at::empty({0}, logits.options().dtype(wide));
    return {none, none};
  }
  const Tensor ignored = targets.lt(0), index = targets.clamp_min(0).unsqueeze(1);
  const Tensor largest = logits.amax({1}, /*keepdim=*/true).to(wide);  // [n, 1], as all below
  // From the largest logit on, so that a sure prediction keeps its digits; one copy in the wide
  // type.
  Tensor z = logits.to(wide, /*non_blocking=*/false, /*copy=*/true).sub_(largest);
  const Tensor chosen = z.gather(1, index), mean = z.mean(1, /*keepdim=*/true);
  const Tensor sum = z.exp_().sum(1, /*keepdim=*/true), log_sum = sum.log();
  const Tensor lse = log_sum + largest;
  const double smoothing = penalties.label_smoothing;
  const Tensor penalty = penalties.z_loss * lse.square() + smoothing * (chosen - mean);
  CrossEntropy result{(log_sum - chosen).squeeze(1).masked_fill_(ignored, 0),
                      penalty.squeeze(1).masked_fill_(ignored, 0)};
  if (!gradient_scale.has_value()) return result;
  const double scale = *gradient_scale;
  z.mul_((1 + 2 * penalties.z_loss * lse) / sum * scale);
  z.sub_(scale * smoothing / static_cast<double>(z.size(1)));
  z.scatter_(1, index, z.gather(1, index) - scale * (1 - smoothing));
  logits.copy_(z.masked_fill_(ignored.unsqueeze(1), 0));
  return result;
}

}  // namespace weft
