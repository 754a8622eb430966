#include "models/kernels/adamw.h"

#include <cmath>

#include "base/check.h"
#include "models/kernels/cpu/adamw.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cuda/adamw.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"
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
AdamWUpdate<C> raw_update(const AdamWStep& step) {
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

// At least one parameter.
template <class C>
void update_all(const std::vector<AdamWTensors>& parameters, const AdamWStep& step, cpu::Isa isa) {
  std::vector<AdamWValues<C>> values;
  std::vector<int64_t> sizes;
  Work work;
  for (const AdamWTensors& p : parameters) {
    values.push_back({.master = p.master.data_ptr<C>(),
                      .gradient = p.gradient.data_ptr<C>(),
                      .m = p.m.data_ptr<C>(),
                      .v = p.v.data_ptr<C>(),
                      .copy = p.copy.defined() ? static_cast<Bf16*>(p.copy.data_ptr()) : nullptr});
    sizes.push_back(p.master.numel());
    work.bytes += 2 * moving({p.master, p.gradient, p.m, p.v}).bytes + moving({p.copy}).bytes;
  }
  const ProfileSpan span("weft::adamw", WorkKind::kOptimizer, work);
  const AdamWUpdate<C> update = raw_update<C>(step);
  on_device(
      "adamw", parameters[0].master,
      [&](auto stream) { cuda::adamw(update, values, sizes, stream); },
      [&] {
        const auto range = WEFT_KERNEL_FOR(isa, adamw_range<C>);
        for_each_piece(sizes, [&](const Piece& piece) {
          range(update, values[piece.tensor], piece.begin, piece.end);
        });
      });
}

}  // namespace

void adamw(const std::vector<AdamWTensors>& parameters, const AdamWStep& step, cpu::Isa isa) {
  WEFT_CHECK(step.number >= 1, "adamw's steps are numbered from 1, not ", step.number);
  for (const AdamWTensors& p : parameters) {
    check(p);
    WEFT_CHECK(p.master.scalar_type() == parameters[0].master.scalar_type() &&
                   p.master.device() == parameters[0].master.device(),
               "adamw of masters of different types or devices");
  }
  if (parameters.empty()) return;
  if (parameters[0].master.scalar_type() == at::kDouble) {
    update_all<double>(parameters, step, isa);
  } else {
    update_all<float>(parameters, step, isa);
  }
}

}  // namespace weft
