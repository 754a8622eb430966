#pragma once
// Root-mean-square layer norm (arXiv:1910.07467; spec/models.md 3).
#include "base/tensor.h"

namespace weft {

// x [.., n], weight [n] -> w * (x / sqrt(mean(x^2) + eps)) in x's type (fp32, fp64 or bf16).
// Statistics and the division are in fp32 (fp64 for fp64); the normalised value is rounded to x's
// type before the weight, rounded likewise, multiplies it, as in Llama and Jamba. Differentiable in
// both; the sums of the weight's gradient are in fp32 (fp64) and do not depend on the number of
// threads.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

// The same in plain operators, differentiable through autograd: for tests and for devices without a
// kernel.
Tensor rms_norm_reference(const Tensor& x, const Tensor& weight, double eps);

}  // namespace weft
