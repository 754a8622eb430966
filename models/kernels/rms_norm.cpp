#include "models/kernels/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rsqrt.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/rms_norm.h"
#include "models/kernels/dispatch.h"

namespace weft {
namespace {

// Calls f with (storage type, compute type) values for x's type.
template <class F>
void with_types(at::ScalarType type, F f) {
  if (type == at::kDouble) {
    f(double{}, double{});
  } else if (type == at::kFloat) {
    f(float{}, float{});
  } else {
    WEFT_CHECK(type == at::kBFloat16, "rms_norm is for fp32, fp64 and bf16");
    f(c10::BFloat16{}, float{});
  }
}

// x contiguous, weight in the compute type; rstd [rows] or undefined.
Tensor run_forward(const Tensor& x, const Tensor& weight, double eps, const Tensor& rstd) {
  const int64_t width = x.size(-1);
  const int64_t rows = width > 0 ? x.numel() / width : 0;
  Tensor y = at::empty_like(x);
  const ProfileSpan span("weft::rms_norm", WorkKind::kNorm, moving({x, y}));
  with_types(x.scalar_type(), [&](auto s, auto c) {
    using S = decltype(s);
    using C = decltype(c);
    cpu::rms_norm_forward<S, C, S>({rows, width, eps}, x.const_data_ptr<S>(),
                                   weight.const_data_ptr<C>(), y.data_ptr<S>(),
                                   rstd.defined() ? rstd.data_ptr<C>() : nullptr);
  });
  return y;
}

at::ScalarType compute_type(const Tensor& x) { return wide_type(x.scalar_type()); }

class RmsNormFunction final : public torch::autograd::Function<RmsNormFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x_in,
                        const Tensor& weight_in, double eps) {
    const Tensor x = x_in.contiguous();
    const Tensor weight = weight_in.to(compute_type(x)).contiguous();
    const int64_t width = x.size(-1);
    const Tensor rstd = at::empty({width > 0 ? x.numel() / width : 0}, weight.options());
    const Tensor y = run_forward(x, weight, eps, rstd);
    ctx->save_for_backward({x, weight, rstd});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["weight_type"] = static_cast<int64_t>(weight_in.scalar_type());
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &rstd = saved[2];
    const Tensor dy = grads[0].contiguous();
    const Tensor dx = at::empty_like(x);
    const int64_t rows = rstd.numel(), width = x.size(-1);
    const int64_t tasks = (rows + cpu::kRmsNormRowsPerTask - 1) / cpu::kRmsNormRowsPerTask;
    const Tensor partials = at::empty({tasks, width}, weight.options());
    const ProfileSpan span("weft::rms_norm_backward", WorkKind::kNorm, moving({x, dy, dx}));
    with_types(x.scalar_type(), [&](auto s, auto c) {
      using S = decltype(s);
      using C = decltype(c);
      cpu::rms_norm_backward<S, C>({rows, width, ctx->saved_data["eps"].toDouble()},
                                   x.const_data_ptr<S>(), weight.const_data_ptr<C>(),
                                   rstd.const_data_ptr<C>(), dy.const_data_ptr<S>(),
                                   dx.data_ptr<S>(), partials.data_ptr<C>());
    });
    const auto weight_type = static_cast<at::ScalarType>(ctx->saved_data["weight_type"].toInt());
    return {dx, partials.sum(0).to(weight_type), {}};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  WEFT_CHECK(weight.dim() == 1 && x.dim() > 0 && x.size(-1) == weight.size(0), "rms_norm of ",
             x.sizes(), " with a weight of ", weight.sizes());
  if (!x.device().is_cpu()) return rms_norm_reference(x, weight, eps);
  if (!at::GradMode::is_enabled()) {
    return run_forward(x.contiguous(), weight.to(compute_type(x)).contiguous(), eps, {});
  }
  return RmsNormFunction::apply(x, weight, eps);
}

Tensor rms_norm_reference(const Tensor& x, const Tensor& weight, double eps) {
  const at::ScalarType type = x.scalar_type();
  const Tensor wide = type == at::kDouble ? x : x.to(at::kFloat);
  const Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * scale).to(type) * weight.to(type);
}

}  // namespace weft
