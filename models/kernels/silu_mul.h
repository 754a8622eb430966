#pragma once
// silu(gate) * up, the middle of a SwiGLU part (arXiv:2002.05202 eq. 6), in one pass forward and
// one backward; silu itself is never in memory.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// gate and up [.., n] of one type, fp32, fp64 or bf16 -> [.., n]: computed in the wide type and
// rounded once. Errors: other shapes and types are a programmer's error.
Tensor silu_mul(const Tensor& gate, const Tensor& up, cpu::Isa isa = cpu::best_isa());

// The same of gate and up side by side, [.., 2 n] -> [.., n]; their gradient is one tensor too.
Tensor silu_mul(const Tensor& gate_up, cpu::Isa isa = cpu::best_isa());

}  // namespace weft
