#include "models/kernels/gated_rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>

#include "base/check.h"
#include "models/kernels/dispatch.h"

namespace weft {

Tensor gated_rms_norm(const Tensor& y, const Tensor& z, const Tensor& weight, int64_t groups,
                      double eps, NormOrder order) {
  const at::ScalarType type = y.scalar_type();
  WEFT_CHECK(is_storage(type), "gated_rms_norm is for fp32, fp64 and bf16");
  WEFT_CHECK(y.dim() > 0 && z.sizes() == y.sizes() && z.scalar_type() == type, "gated_rms_norm of ",
             y.toString(), " ", y.sizes(), " with a gate ", z.toString(), " ", z.sizes());
  WEFT_CHECK(weight.dim() == 1 && weight.size(0) == y.size(-1), "gated_rms_norm of ", y.sizes(),
             " with a weight of ", weight.sizes());
  WEFT_CHECK(groups > 0 && y.size(-1) % groups == 0, "gated_rms_norm of ", y.sizes(), " in ",
             groups, " groups");
  const at::ScalarType compute = wide_type(type);
  const Tensor gate = at::silu(z.to(compute)), wide = y.to(compute);
  const Tensor v = order == NormOrder::kGateFirst ? wide * gate : wide;
  const Tensor grouped = v.unflatten(-1, {groups, y.size(-1) / groups});
  const Tensor scale = at::rsqrt(grouped.square().mean(-1, /*keepdim=*/true) + eps);
  const Tensor normed = (grouped * scale).flatten(-2) * weight.to(compute);
  return (order == NormOrder::kGateFirst ? normed : normed * gate).to(type);
}

}  // namespace weft
