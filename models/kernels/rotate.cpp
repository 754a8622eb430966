#include "models/kernels/rotate.h"

#include <algorithm>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/rotate.h"
#include "models/kernels/cuda/rotate.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"
#include "models/kernels/partials.h"
#include "models/kernels/rms_norm.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

HeadsShape shape_of(const Tensor& x) { return {x.size(0), x.size(1), x.size(2), x.size(3)}; }

template <class S>
HeadRows<const S> heads_of(const Tensor& t) {
  return {values<const S>(t), t.stride(0), t.stride(1), t.stride(2)};
}

// The weight of a norm before the rotation; undefined: none.
struct Norm {
  Tensor weight;
  double eps = 0;

  template <class S>
  HeadNorm<S> raw() const {
    return {weight.defined() ? values<const Compute<S>>(weight) : nullptr, eps};
  }
};

// f(task, first token, behind the last) of all tasks on LibTorch's threads; tasks do not depend on
// their number.
template <class F>
void for_tokens(const HeadsShape& shape, int64_t per_task, const F& f) {
  const int64_t tokens = shape.batch * shape.time;
  at::parallel_for(0, (tokens + per_task - 1) / per_task, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      f(task, task * per_task, std::min(tokens, (task + 1) * per_task));
    }
  });
}

int64_t tokens_per_task(const HeadsShape& shape) {
  constexpr int64_t kNumbers = 32 << 10;  // some 20 us
  return kNumbers / (shape.heads * shape.width + 1) + 1;
}

int64_t count_tasks(const Tensor& x) {
  const HeadsShape shape = shape_of(x);
  if constexpr (kHasCuda) {
    if (x.is_cuda()) return cuda::rotate_tasks(shape);
  }
  return (shape.batch * shape.time + tokens_per_task(shape) - 1) / tokens_per_task(shape);
}

template <class S>
void run_on_cpu(const HeadRotation<S>& rotation, cpu::Isa isa) {
  const auto run = WEFT_KERNEL_FOR(isa, rotate_tokens<S>);
  for_tokens(rotation.shape, tokens_per_task(rotation.shape),
             [&](int64_t, int64_t first, int64_t end) { run(rotation, first, end); });
}

template <class S>
void run_on_cpu(const HeadRotationGradients<S>& of, cpu::Isa isa) {
  const auto run = WEFT_KERNEL_FOR(isa, rotate_tokens_backward<S>);
  for_tokens(of.shape, tokens_per_task(of.shape), [&](int64_t task, int64_t first, int64_t end) {
    HeadRotationGradients<S> some = of;
    some.dweight += task * of.shape.width;
    std::fill(some.dweight, some.dweight + of.shape.width, Compute<S>(0));
    run(some, first, end);
  });
}

// The pass (HeadRotation or HeadRotationGradients) on the device that x is on.
template <class Pass>
void launch(const Pass& rotation, const Tensor& x, cpu::Isa isa) {
  on_device(
      "rotate", x, [&](auto stream) { cuda::rotate(rotation, stream); },
      [&] { run_on_cpu(rotation, isa); });
}

// Channels of x, cos and sin are dense. `backward`: what dy = x makes of the gradient.
Tensor run(const Tensor& x, const Norm& norm, const Tensor& cos, const Tensor& sin, bool backward,
           cpu::Isa isa) {
  const Tensor y = at::empty(x.sizes(), x.options());
  const bool normed = norm.weight.defined();
  const ProfileSpan span(normed     ? "weft::norm_rotate"
                         : backward ? "weft::rotate_backward"
                                    : "weft::rotate",
                         normed ? WorkKind::kNorm : WorkKind::kElementwise, moving({x, y}));
  with_storage(x, [&](auto storage) {
    using S = decltype(storage);
    launch(HeadRotation<S>{.shape = shape_of(x),
                           .x = heads_of<S>(x),
                           .cos = heads_of<S>(cos),
                           .sin = heads_of<S>(sin),
                           .norm = norm.raw<S>(),
                           .y = values<S>(y),
                           .backward = backward},
           x, isa);
  });
  return y;
}

// The gradients of x and of the norm's weight.
std::pair<Tensor, Tensor> norm_gradients(const Tensor& x, const Norm& norm, const Tensor& cos,
                                         const Tensor& sin, const Tensor& dy, cpu::Isa isa) {
  const Tensor dx = at::empty(x.sizes(), x.options());
  const Tensor partials = at::empty({count_tasks(x), x.size(3)}, norm.weight.options());
  const ProfileSpan span("weft::norm_rotate_backward", WorkKind::kNorm, moving({x, dy, dx}));
  with_storage(x, [&](auto storage) {
    using S = decltype(storage);
    launch(HeadRotationGradients<S>{.shape = shape_of(x),
                                    .x = heads_of<S>(x),
                                    .dy = heads_of<S>(dy),
                                    .cos = heads_of<S>(cos),
                                    .sin = heads_of<S>(sin),
                                    .norm = norm.raw<S>(),
                                    .dx = values<S>(dx),
                                    .dweight = values<Compute<S>>(partials)},
           x, isa);
  });
  return {dx, sum_partials(partials, norm.weight)};
}

class RotateFunction final : public torch::autograd::Function<RotateFunction> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin,
                        cpu::Isa isa) {
    ctx->save_for_backward({cos, sin});
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return run(x, {}, cos, sin, /*backward=*/false, isa);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "rotate is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    return {run(with_dense_channels(grads[0]), {}, saved[0], saved[1], /*backward=*/true,
                static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt())),
            {},
            {},
            {}};
  }
};

class NormRotateFunction final : public torch::autograd::Function<NormRotateFunction> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, double eps,
                        const Tensor& cos, const Tensor& sin, cpu::Isa isa) {
    ctx->save_for_backward({x, weight, cos, sin});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return run(x, {weight, eps}, cos, sin, /*backward=*/false, isa);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "norm_rotate is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    const auto [dx, dweight] = norm_gradients(
        saved[0], {saved[1], ctx->saved_data["eps"].toDouble()}, saved[2], saved[3],
        with_dense_channels(grads[0]), static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt()));
    return {dx, dweight, {}, {}, {}, {}};
  }
};

void check(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  WEFT_CHECK(x.dim() == 4 && x.size(3) % 2 == 0 && cos.dim() == 4 && cos.size(0) == x.size(0) &&
                 cos.size(1) == x.size(1) && cos.size(2) == 1 && cos.size(3) == x.size(3) &&
                 sin.sizes() == cos.sizes(),
             "rotate of x ", x.sizes(), ", cos ", cos.sizes(), ", sin ", sin.sizes());
  const at::ScalarType type = x.scalar_type();
  WEFT_CHECK(is_storage(type), "rotate is for fp32, fp64 and bf16, not ", type);
  const auto fits = [&](const Tensor& t) {
    return t.scalar_type() == type && t.device() == x.device() && !t.requires_grad();
  };
  WEFT_CHECK(fits(cos) && fits(sin), "rotate: cos and sin must be of x's type, ", type,
             ", and on its device, ", x.device(), ", without gradients");
}

}  // namespace

Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, cpu::Isa isa) {
  check(x, cos, sin);
  if (!has_kernels_for(x)) return rotate_reference(x, cos, sin);
  return RotateFunction::apply(with_dense_channels(x), with_dense_channels(cos),
                               with_dense_channels(sin), isa);
}

Tensor norm_rotate(const Tensor& x, const RmsNormWeights& norm, const Tensor& cos,
                   const Tensor& sin, cpu::Isa isa) {
  check(x, cos, sin);
  WEFT_CHECK(norm.weight.dim() == 1 && norm.weight.size(0) == x.size(3) &&
                 norm.weight.device() == x.device(),
             "norm_rotate of x ", x.sizes(), " with a weight of ", norm.weight.sizes());
  if (!has_kernels_for(x)) {
    return rotate_reference(rms_norm_reference(x, norm.weight, norm.eps), cos, sin);
  }
  const Tensor weight = norm.weight.to(wide_type(x.scalar_type())).contiguous();
  return NormRotateFunction::apply(with_dense_channels(x), weight, norm.eps,
                                   with_dense_channels(cos), with_dense_channels(sin), isa);
}

Tensor rotate_reference(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  const Tensor swapped = at::cat({x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  return at::addcmul(x * cos, swapped, sin);
}

}  // namespace weft
