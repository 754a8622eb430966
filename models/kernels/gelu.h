#pragma once
// The tanh form of gelu (arXiv:1606.08415), GPT-2's activation, in one pass forward and one
// backward.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) of x [..]: fp32, fp64 or bf16, computed in the
// wide type and rounded once. On other devices than the CPU LibTorch's. Errors: other types are a
// programmer's error.
Tensor gelu_tanh(const Tensor& x, cpu::Isa isa = cpu::best_isa());

}  // namespace weft
