#pragma once
// The gated norm of Mamba-2 (spec/models.md 3): root-mean-square norm within groups of channels,
// and a gate silu(z) before or after it.
#include "base/tensor.h"

namespace weft {

enum class NormOrder {
  kGateFirst,  // norm(y * silu(z)) * weight, as in all published checkpoints
  kNormFirst,  // norm(y) * weight * silu(z)
};

// y, z [.., n] fp32, fp64 or bf16, weight [n] -> [.., n] in y's type. The mean square is over each
// of the `groups` runs of n / groups adjacent channels. Statistics, gate and weight in fp32 (fp64
// for fp64), rounded once at the end. Differentiable in y, z and weight.
Tensor gated_rms_norm(const Tensor& y, const Tensor& z, const Tensor& weight, int64_t groups,
                      double eps, NormOrder order);

}  // namespace weft
