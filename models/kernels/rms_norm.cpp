#include "models/kernels/rms_norm.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/rms_norm.h"
#include "models/kernels/cuda/rms_norm.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"
#include "models/kernels/partials.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of which one task is made: the weight's gradient is summed inside tasks, then over them in
// order.
constexpr int64_t kRowsPerTask = 256;

int64_t count_tasks(const Tensor& x) {
  if constexpr (kHasCuda) {
    if (x.is_cuda()) return cuda::rms_norm_tasks(x.size(0));
  }
  return (x.size(0) + kRowsPerTask - 1) / kRowsPerTask;
}

// f(task, first row, number of rows) for all tasks on LibTorch's threads.
template <class F>
void for_tasks(int64_t rows, const F& f) {
  const int64_t tasks = (rows + kRowsPerTask - 1) / kRowsPerTask;
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * kRowsPerTask;
      f(task, first, std::min(kRowsPerTask, rows - first));
    }
  });
}

template <class T>
T* from_row(T* all, int64_t elements) {
  return all == nullptr ? nullptr : all + elements;
}

template <class S, class Y>
void run_on_cpu(const NormRows<S, Y>& all, cpu::Isa isa) {
  const auto run = WEFT_KERNEL_FOR(isa, rms_norm_rows<S, Y>);
  for_tasks(all.rows, [&](int64_t, int64_t first, int64_t count) {
    NormRows<S, Y> some = all;
    some.rows = count;
    some.x += first * all.x_stride;
    some.added = from_row(all.added, first * all.width);
    some.sum = from_row(all.sum, first * all.width);
    some.y += first * all.width;
    some.scale += first;
    run(some);
  });
}

template <class S, class Y>
void run_on_cpu(const NormGradients<S, Y>& all, cpu::Isa isa) {
  const auto run = WEFT_KERNEL_FOR(isa, rms_norm_backward_rows<S, Y>);
  for_tasks(all.rows, [&](int64_t task, int64_t first, int64_t count) {
    NormGradients<S, Y> some = all;
    some.rows = count;
    some.x += first * all.x_stride;
    some.scale += first;
    some.dy += first * all.width;
    some.dsum = from_row(all.dsum, first * all.width);
    some.dx += first * all.width;
    some.dadded = from_row(all.dadded, first * all.width);
    some.dweight += task * all.width;
    std::fill(some.dweight, some.dweight + all.width, Compute<S>(0));
    run(some);
  });
}

// The pass (NormRows or NormGradients) on the device that x is on.
template <class Pass>
void launch(const Pass& pass, const Tensor& x, cpu::Isa isa) {
  on_device(
      "rms_norm", x, [&](auto stream) { cuda::rms_norm(pass, stream); },
      [&] { run_on_cpu(pass, isa); });
}

// f(S{}, Y{}) for the storage types of the residual stream and of the norm.
template <class F>
void with_types(at::ScalarType stream, at::ScalarType normed, const F& f) {
  if (stream == at::kDouble) {
    f(double{}, double{});
  } else if (stream == at::kBFloat16) {
    f(Bf16{}, Bf16{});
  } else if (normed == at::kBFloat16) {
    f(float{}, Bf16{});
  } else {
    f(float{}, float{});
  }
}

template <class T>
T* maybe(const Tensor& t) {
  return t.defined() ? values<T>(t) : nullptr;
}

struct Options {
  double eps;
  at::ScalarType type;  // of the norm
  cpu::Isa isa;
};

class RmsNorm final : public torch::autograd::Function<RmsNorm> {
 public:
  // x [rows, n] with dense rows, added [rows, n] dense -> the norm, and before it their sum where
  // something is added.
  static variable_list forward(AutogradContext* ctx, const Tensor& x,
                               const std::optional<Tensor>& added_in, const Tensor& weight,
                               const Options& options) {
    const Tensor added = added_in.value_or(Tensor{});
    const Tensor y = at::empty(x.sizes(), x.options().dtype(options.type));
    const Tensor sum = added.defined() ? at::empty(x.sizes(), x.options()) : Tensor{};
    const Tensor scale = at::empty({x.size(0)}, weight.options());
    const ProfileSpan span("weft::rms_norm", WorkKind::kNorm, moving({x, added, sum, y}));
    with_types(x.scalar_type(), options.type, [&](auto s, auto n) {
      using S = decltype(s);
      using Y = decltype(n);
      using C = Compute<S>;
      launch(NormRows<S, Y>{.rows = x.size(0),
                            .width = x.size(1),
                            .eps = options.eps,
                            .x = values<const S>(x),
                            .x_stride = x.stride(0),
                            .added = maybe<const Y>(added),
                            .sum = maybe<S>(sum),
                            .weight = values<const C>(weight),
                            .y = values<Y>(y),
                            .scale = values<C>(scale)},
             x, options.isa);
    });
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({added.defined() ? sum : x, weight, scale});
    ctx->saved_data["isa"] = static_cast<int64_t>(options.isa);
    ctx->saved_data["type"] = static_cast<int64_t>(options.type);
    return added.defined() ? variable_list{sum, y} : variable_list{y};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "rms_norm is differentiated at most once");
    const bool is_sum = grads.size() == 2;
    const auto type = static_cast<at::ScalarType>(ctx->saved_data["type"].toInt());
    if (!grads.back().defined()) {  // nothing asks for the norm
      return {grads[0], is_sum && grads[0].defined() ? grads[0].to(type) : Tensor{}, {}, {}};
    }
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &scale = saved[2];
    const Tensor dy = grads.back().contiguous();
    const Tensor dsum = is_sum && grads[0].defined() ? grads[0].contiguous() : Tensor{};
    const Tensor dx = at::empty(x.sizes(), x.options());
    const bool narrower = is_sum && type != x.scalar_type();
    const Tensor dadded = narrower ? at::empty(x.sizes(), x.options().dtype(type)) : Tensor{};
    const Tensor partials = at::empty({count_tasks(x), x.size(1)}, weight.options());
    const ProfileSpan span("weft::rms_norm_backward", WorkKind::kNorm,
                           moving({x, dy, dsum, dx, dadded}));
    with_types(x.scalar_type(), type, [&](auto s, auto n) {
      using S = decltype(s);
      using Y = decltype(n);
      using C = Compute<S>;
      launch(NormGradients<S, Y>{.rows = x.size(0),
                                 .width = x.size(1),
                                 .x = values<const S>(x),
                                 .x_stride = x.stride(0),
                                 .weight = values<const C>(weight),
                                 .scale = values<const C>(scale),
                                 .dy = values<const Y>(dy),
                                 .dsum = maybe<const S>(dsum),
                                 .dx = values<S>(dx),
                                 .dadded = maybe<Y>(dadded),
                                 .dweight = values<C>(partials)},
             x, static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt()));
    });
    return {dx, narrower ? dadded : is_sum ? dx : Tensor{}, sum_partials(partials, weight), {}};
  }
};

void check(const Tensor& x, const Tensor& weight, at::ScalarType type) {
  WEFT_CHECK(weight.dim() == 1 && x.dim() > 0 && x.size(-1) == weight.size(0) &&
                 weight.device() == x.device(),
             "rms_norm of ", x.sizes(), " on ", x.device(), " with a weight of ", weight.sizes(),
             " on ", weight.device());
  const at::ScalarType from = x.scalar_type();
  WEFT_CHECK(is_storage(from) && (type == from || (from == at::kFloat && type == at::kBFloat16)),
             "rms_norm is for fp32, fp64 and bf16, and fp32 to bf16, not from ", from, " to ",
             type);
}

Tensor wide_weight(const Tensor& weight, const Tensor& x) {
  return weight.to(wide_type(x.scalar_type())).contiguous();
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps,
                std::optional<at::ScalarType> type_in, cpu::Isa isa) {
  const at::ScalarType type = type_in.value_or(x.scalar_type());
  check(x, weight, type);
  if (!has_kernels_for(x)) return rms_norm_reference(x, weight, eps).to(type);
  const variable_list out = RmsNorm::apply(as_rows(x), std::optional<Tensor>{},
                                           wide_weight(weight, x), Options{eps, type, isa});
  return out[0].view(x.sizes());
}

AddedNorm add_rms_norm(const Tensor& x, const Tensor& added, const Tensor& weight, double eps,
                       cpu::Isa isa) {
  check(x, weight, added.scalar_type());
  WEFT_CHECK(added.sizes() == x.sizes() && added.device() == x.device(), "add_rms_norm of ",
             x.sizes(), " and ", added.sizes());
  if (!has_kernels_for(x)) {
    const Tensor sum = x + added;
    return {sum, rms_norm_reference(sum, weight, eps).to(added.scalar_type())};
  }
  const variable_list out =
      RmsNorm::apply(as_rows(x), std::optional(as_rows(added).contiguous()), wide_weight(weight, x),
                     Options{eps, added.scalar_type(), isa});
  return {out[0].view(x.sizes()), out[1].view(x.sizes())};
}

Tensor rms_norm_reference(const Tensor& x, const Tensor& weight, double eps) {
  const at::ScalarType type = x.scalar_type();
  const Tensor wide = type == at::kDouble ? x : x.to(at::kFloat);
  const Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * scale).to(type) * weight.to(type);
}

}  // namespace weft
