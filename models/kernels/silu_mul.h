#pragma once
// The gate of a feed-forward of a few rows (arXiv:2002.05202): one pass over numbers that are in
// the cache. For the CPU, and without gradients.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// silu(gate) * up, of one shape and type: fp32, fp64 or bf16, computed in fp32 (fp64) and rounded
// once. Nothing may need a gradient. `isa` is for tests: which of the CPU kernels to run.
Tensor silu_mul(const Tensor& gate, const Tensor& up, cpu::Isa isa = cpu::best_isa());

}  // namespace weft
