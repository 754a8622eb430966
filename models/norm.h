#pragma once
// Root-mean-square layer norm (arXiv:1910.07467; spec/models.md 3).
#include <string>

#include "base/tensor.h"
#include "parallel/parameter_store.h"

namespace weft {

// x [..., n], weight [n] -> w * (x / sqrt(mean(x^2) + eps)) in x's type. Statistics and the
// division are in fp32 (fp64 for fp64); the normalised value is rounded to x's type before the
// weight multiplies it, as in Llama and Jamba.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

// The row of a norm's weight: ones at the start, no decay, kept in the master's type.
ParameterSpec norm_weight(std::string name, int64_t width);

}  // namespace weft
