#include "models/kernels/rotate.h"

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
#include "models/kernels/dispatch.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor with_dense_channels(const Tensor& t) {
  return t.size(3) > 1 && t.stride(3) != 1 ? t.contiguous() : t;
}

// Channels of x, cos and sin are dense.
Tensor run(const Tensor& x, const Tensor& cos, const Tensor& sin, bool backward, cpu::Isa isa) {
  const Tensor y = at::empty(x.sizes(), x.options());
  const int64_t length = x.size(1), heads = x.size(2), width = x.size(3);
  constexpr int64_t kNumbersPerThread = 16 << 10;  // some 10 us
  const ProfileSpan span(backward ? "weft::rotate_backward" : "weft::rotate",
                         WorkKind::kElementwise, moving({x, y}));
  with_storage(x, [&](auto storage) {
    using S = decltype(storage);
    const auto token = WEFT_KERNEL_FOR(isa, rotate_token<S>);
    const auto at = [&](const Tensor& t, int64_t i) {
      return values<S>(t) + i / length * t.stride(0) + i % length * t.stride(1);
    };
    at::parallel_for(0, x.size(0) * length, kNumbersPerThread / (heads * width + 1) + 1,
                     [&](int64_t begin, int64_t end) {
                       for (int64_t i = begin; i < end; ++i) {
                         token({.heads = heads,
                                .width = width,
                                .x = at(x, i),
                                .x_head = x.stride(2),
                                .cos = at(cos, i),
                                .sin = at(sin, i),
                                .y = at(y, i)},
                               backward);
                       }
                     });
  });
  return y;
}

class RotateFunction final : public torch::autograd::Function<RotateFunction> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin,
                        cpu::Isa isa) {
    ctx->save_for_backward({cos, sin});
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return run(x, cos, sin, /*backward=*/false, isa);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "rotate is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    return {run(with_dense_channels(grads[0]), saved[0], saved[1], /*backward=*/true,
                static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt())),
            {},
            {},
            {}};
  }
};

}  // namespace

Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, cpu::Isa isa) {
  WEFT_CHECK(x.dim() == 4 && x.size(3) % 2 == 0 && cos.dim() == 4 && cos.size(0) == x.size(0) &&
                 cos.size(1) == x.size(1) && cos.size(2) == 1 && cos.size(3) == x.size(3) &&
                 sin.sizes() == cos.sizes(),
             "rotate of x ", x.sizes(), ", cos ", cos.sizes(), ", sin ", sin.sizes());
  const at::ScalarType type = x.scalar_type();
  WEFT_CHECK(type == at::kFloat || type == at::kDouble || type == at::kBFloat16,
             "rotate is for fp32, fp64 and bf16, not ", type);
  WEFT_CHECK(cos.scalar_type() == x.scalar_type() && sin.scalar_type() == x.scalar_type() &&
                 !cos.requires_grad() && !sin.requires_grad(),
             "rotate: cos and sin must be of x's type, ", x.scalar_type(), ", without gradients");
  if (!x.is_cpu()) return rotate_reference(x, cos, sin);
  return RotateFunction::apply(with_dense_channels(x), with_dense_channels(cos),
                               with_dense_channels(sin), isa);
}

Tensor rotate_reference(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  const Tensor swapped = at::cat({x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  return at::addcmul(x * cos, swapped, sin);
}

}  // namespace weft
