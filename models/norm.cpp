#include "models/norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>

namespace weft {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  const at::ScalarType type = x.scalar_type();
  const Tensor wide = type == at::kDouble ? x : x.to(at::kFloat);
  const Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * scale).to(type) * weight.to(type);
}

ParameterSpec norm_weight(std::string name, int64_t width) {
  return {.name = std::move(name),
          .shape = {width},
          .sharding = {},
          .init = {.kind = Initializer::Kind::kConstant, .a = 1.0},
          .decay = WeightDecay::kNo,
          .compute = ComputeType::kMaster};
}

}  // namespace weft
