#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "models/kernels/causal_conv.h"
#include "models/kernels/dispatch.h"

namespace weft {

Tensor causal_conv_silu_reference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                  const Tensor& starts) {
  const at::ScalarType compute = wide_type(x.scalar_type());
  const Tensor wide = x.to(compute), taps = weight.to(compute);
  const Tensor document = starts.to(at::kLong).cumsum(1);  // [Bz, T]
  const int64_t time = x.size(1), kernel = weight.size(1);
  Tensor sum = at::zeros_like(wide);
  if (bias.defined()) sum = sum + bias.to(compute);
  for (int64_t back = 0; back < kernel && back < time; ++back) {
    const int64_t kept = time - back;
    const Tensor same =
        (document.narrow(1, 0, kept) == document.narrow(1, back, kept)).unsqueeze(-1);
    const Tensor seen = wide.narrow(1, 0, kept) * same;
    const Tensor none = at::zeros({x.size(0), back, x.size(2)}, wide.options());
    sum = sum + at::cat({none, seen}, 1) * taps.select(1, kernel - 1 - back);
  }
  return at::silu(sum).to(x.scalar_type());
}

}  // namespace weft
