#pragma once
// Attention of one new token of each row to those before it, as decoding needs it: keys and values
// are read from memory once, and that bounds the time. For the CPU, and without gradients.
#include <span>

#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/cpu/scratch.h"
#include "models/kernels/cpu/stages.h"
#include "models/kernels/rms_norm_weights.h"

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

// All contiguous, of the type in which the layer computes, fp32, fp64 or bf16 (the "storage type");
// norms are fp32 (fp64 where storage is fp64).
struct AttentionLayerWeights {
  RmsNormWeights norm;                    // [d]
  Tensor q, k, v, o;                      // [H e, d], [KV e, d] twice, [d, H e]
  Tensor q_bias, k_bias, v_bias, o_bias;  // [H e], [KV e] twice, [d], or undefined
  Tensor q_norm, k_norm;                  // [e] of each head's q and k, or none
  double norm_eps = 0;                    // theirs
};

// Adds to x [Bz, 1, d], in the storage type or the wider one, what the attention makes of norm(x),
// from the norm to the projection back, in one call. cos, sin, caches and lengths as in
// AttentionStep, `step`.{q, k, v} are undefined. Equal bit for bit to rms_norm, row_linear and
// attention_step one after the other, for any number of threads.
void attention_layer_step(const AttentionLayerWeights& weights, const AttentionStep& step,
                          Tensor& x, cpu::Isa isa = cpu::best_isa());

// The same for token after token: each time with what x, cos, sin (both contiguous), caches and
// `step`.lengths, an array that must stay where it is, have in them then. `scratch` outlives it.
cpu::StagedWorkPtr attention_layer_work(const AttentionLayerWeights& weights,
                                        const AttentionStep& step, const Tensor& x,
                                        cpu::Scratch& scratch, cpu::Isa isa = cpu::best_isa());

}  // namespace weft
