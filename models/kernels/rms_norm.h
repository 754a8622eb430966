#pragma once
// Root-mean-square layer norm (arXiv:1910.07467; spec/models.md 3), also of a residual stream to
// which something is added first.
#include <optional>

#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// x [.., n], weight [n] -> w * (x / sqrt(mean(x^2) + eps)) in `type`: x's (fp32, fp64 or bf16; the
// default), or bf16 for an fp32 x. Statistics and the division are in fp32 (fp64 for fp64); the
// normalised value is rounded to x's type before the weight, rounded likewise, multiplies it, as in
// Llama and Jamba. Differentiable in both; the sums of the weight's gradient are in fp32 (fp64) and
// do not depend on the number of threads.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps,
                std::optional<at::ScalarType> type = {}, cpu::Isa isa = cpu::best_isa());

struct AddedNorm {
  Tensor sum;     // x + added in x's type
  Tensor normed;  // its norm in added's type
};

// The residual stream x [.., n] with `added` [.., n] on it, and the RMS norm of that, in one pass.
// added has x's type, or is bf16 beside an fp32 x.
AddedNorm add_rms_norm(const Tensor& x, const Tensor& added, const Tensor& weight, double eps,
                       cpu::Isa isa = cpu::best_isa());

// The first in plain operators, differentiable through autograd: for tests and for devices without
// a kernel.
Tensor rms_norm_reference(const Tensor& x, const Tensor& weight, double eps);

}  // namespace weft
