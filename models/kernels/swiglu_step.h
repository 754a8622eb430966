#pragma once
// A few tokens through a SwiGLU feed-forward part (arXiv:2002.05202; spec/models.md 7), dense or of
// experts (spec/models.md 8), from the norm before it to the residual stream behind it. As decoding
// one token at a time needs it: the weights in use are read from memory once, and that bounds the
// time; starting an operator for each product would take as long as a small one.
#include <cstdint>

#include "base/tensor.h"
#include "models/kernels/cpu/choose_experts.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/cpu/scratch.h"
#include "models/kernels/cpu/stages.h"
#include "models/kernels/rms_norm_weights.h"

namespace weft {

// All contiguous; matrices and biases have the type in which the layer computes, fp32, fp64 or bf16
// (the "storage type"), and what is marked * is fp32 (fp64 where storage is fp64).
struct SwigluStepWeights {
  RmsNormWeights norm;                   // [d] *
  Tensor gate, up, down;                 // [f, d] twice, [d, f]; of experts [E, f, d], [E, d, f]
  Tensor gate_bias, up_bias, down_bias;  // [f] twice, [d], or undefined; experts have none
  Tensor router;                         // [E, d] *, or undefined: a dense part
  cpu::ExpertChoice choice;              // among the experts of a router
};

// Adds to x [.., d], in the storage type or the wider one, what the part makes of norm(x): down
// (silu(gate norm(x)) * up norm(x)), or the sum of that over each token's experts with the weights
// that `route` of models/moe.h gives, in ascending order of expert and in the wide type. On the CPU
// and without gradients; any other shape, type or device is a programmer's error. Equal bit for bit
// to rms_norm, row_linear and silu_mul one after the other, for any number of threads.
void swiglu_step(const SwigluStepWeights& weights, Tensor& x, cpu::Isa isa = cpu::best_isa());

// The same for token after token: each time for what x has in it then. `scratch` outlives it.
cpu::StagedWorkPtr swiglu_work(const SwigluStepWeights& weights, const Tensor& x,
                               cpu::Scratch& scratch, cpu::Isa isa = cpu::best_isa());

}  // namespace weft
