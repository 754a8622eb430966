#pragma once
// Attention of one new token of each row to those before it, as decoding needs it: keys and values
// are read from memory once, and that bounds the time. For the CPU, and without gradients.
#include <span>

#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

struct AttentionStep {
  Tensor q;                          // [Bz, 1, H, e]
  Tensor k, v;                       // [Bz, 1, KV, e]
  Tensor cos, sin;                   // [Bz, 1, 1, e] of models/rope.h, or undefined: no rotation
  Tensor k_cache, v_cache;           // [Bz, KV, slots, e], written to
  std::span<const int64_t> lengths;  // [Bz] tokens that each row had before
};

// Rotates q and k, puts k and v into slot length mod slots, and gives softmax(q k^T / sqrt(e)) v
// over the slots in use [Bz, 1, H, e], all in the type of q: fp32, fp64 or bf16, scores and sums in
// fp32 (fp64). KV divides H. A row's result depends neither on the other rows nor on the number of
// threads. Nothing may need a gradient. `isa` is for tests: which of the CPU kernels to run.
Tensor attention_step(const AttentionStep& step, cpu::Isa isa = cpu::best_isa());

}  // namespace weft
