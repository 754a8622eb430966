#pragma once
// LayerNorm (arXiv:1607.06450) as GPT-2 has it, in one pass forward and one backward.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// x [.., n] -> (x - mean) / sqrt(variance + eps) * weight + bias [.., n] over the last dimension,
// in x's type: fp32, fp64 or bf16; weight and bias [n] in the wide type. All is computed in the
// wide type and rounded once. On other devices than the CPU LibTorch's. Errors: other shapes and
// types are a programmer's error.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                  cpu::Isa isa = cpu::best_isa());

}  // namespace weft
