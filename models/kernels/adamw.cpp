#include "models/kernels/adamw.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include "base/check.h"
#include "models/kernels/cpu/adamw.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/pieces.h"

namespace weft {
namespace {

void check(const AdamWTensors& p) {
  const auto fits = [&](const Tensor& t, at::ScalarType type) {
    return t.scalar_type() == type && t.sizes() == p.master.sizes() && t.is_contiguous() &&
           t.device() == p.master.device();
  };
  const at::ScalarType type = p.master.scalar_type();
  WEFT_CHECK((type == at::kFloat || type == at::kDouble) && fits(p.master, type) &&
                 fits(p.gradient, type) && fits(p.m, type) && fits(p.v, type) &&
                 (!p.copy.defined() || (type == at::kFloat && fits(p.copy, at::kBFloat16))),
             "adamw of a master ", p.master.toString(), " ", p.master.sizes(), ", gradient ",
             p.gradient.toString(), " ", p.gradient.sizes());
}

template <class C>
cpu::AdamWUpdate<C> raw_update(const AdamWStep& step) {
  const auto t = static_cast<double>(step.number);
  const double first = 1 - std::pow(step.beta1, t), second = 1 - std::pow(step.beta2, t);
  return {.gradient_scale = static_cast<C>(step.gradient_scale),
          .beta1 = static_cast<C>(step.beta1),
          .beta2 = static_cast<C>(step.beta2),
          .one_minus_beta1 = static_cast<C>(1 - step.beta1),
          .one_minus_beta2 = static_cast<C>(1 - step.beta2),
          .decay = static_cast<C>(step.lr * step.weight_decay),
          .step_size = static_cast<C>(step.lr / first),
          .root_scale = static_cast<C>(1 / std::sqrt(second)),
          .eps = static_cast<C>(step.eps)};
}

template <class C>
void update_all(const std::vector<AdamWTensors>& parameters, const AdamWStep& step, cpu::Isa isa) {
  std::vector<cpu::AdamWValues<C>> values;
  std::vector<int64_t> sizes;
  Work work;
  for (const AdamWTensors& p : parameters) {
    values.push_back({.master = p.master.data_ptr<C>(),
                      .gradient = p.gradient.const_data_ptr<C>(),
                      .m = p.m.data_ptr<C>(),
                      .v = p.v.data_ptr<C>(),
                      .copy = p.copy.defined() ? static_cast<Bf16*>(p.copy.data_ptr()) : nullptr});
    sizes.push_back(p.master.numel());
    work.bytes += moving({p.master, p.master, p.gradient, p.m, p.m, p.v, p.v, p.copy}).bytes;
  }
  const ProfileSpan span("weft::adamw", WorkKind::kOptimizer, work);
  const auto range = WEFT_KERNEL_FOR(isa, adamw_range<C>);
  const cpu::AdamWUpdate<C> update = raw_update<C>(step);
  for_each_piece(sizes, [&](const Piece& piece) {
    range(update, values[piece.tensor], piece.begin, piece.end);
  });
}

// One parameter after the other, so that a scaled gradient exists of one alone. LibTorch's own
// scaling would write into the gradients; it reads the number of the update from a tensor.
void update_on_device(const std::vector<AdamWTensors>& parameters, const AdamWStep& step) {
  const Tensor number =
      at::full({}, static_cast<double>(step.number),
               at::TensorOptions(at::kFloat).device(parameters[0].master.device()));
  for (const AdamWTensors& p : parameters) {
    const Tensor gradient =
        step.gradient_scale == 1 ? p.gradient : p.gradient * step.gradient_scale;
    at::_fused_adamw_({p.master.detach()}, {gradient}, {p.m}, {p.v}, /*max_exp_avg_sqs=*/{},
                      {number}, step.lr, step.beta1, step.beta2, step.weight_decay, step.eps,
                      /*amsgrad=*/false, /*maximize=*/false);
    if (p.copy.defined()) p.copy.copy_(p.master);
  }
}

}  // namespace

void adamw(const std::vector<AdamWTensors>& parameters, const AdamWStep& step, cpu::Isa isa) {
  const at::NoGradGuard no_grad;
  for (const AdamWTensors& p : parameters) {
    check(p);
    WEFT_CHECK(p.master.scalar_type() == parameters[0].master.scalar_type() &&
                   p.master.device() == parameters[0].master.device(),
               "adamw of masters of different types or devices");
  }
  if (!parameters.empty() && !parameters[0].master.is_cpu()) {
    update_on_device(parameters, step);
  } else if (!parameters.empty() && parameters[0].master.scalar_type() == at::kDouble) {
    update_all<double>(parameters, step, isa);
  } else {
    update_all<float>(parameters, step, isa);
  }
}

}  // namespace weft
