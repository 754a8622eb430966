#pragma once
// The last step of decoding a token: final norm and head, as logits in the wide type
// (spec/models.md 4 and 16). For a few rows on the CPU: the head is read from memory once, and that
// bounds the time.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/cpu/scratch.h"
#include "models/kernels/cpu/stages.h"
#include "models/kernels/rms_norm_weights.h"

namespace weft {

// x [.., d], in the head's type (fp32, fp64 or bf16) or the wider one, head [V, d], both contiguous
// -> norm(x) head^T [.., V] in fp32 (fp64 for fp64), rounded once to the head's type. Without
// gradients; any other shape, type or device is a programmer's error. Equal bit for bit to rms_norm
// and row_linear one after the other, for any number of threads.
Tensor head_step(const RmsNormWeights& norm, const Tensor& head, const Tensor& x,
                 cpu::Isa isa = cpu::best_isa());

// The same for token after token: each time for what x has in it then, into the memory that
// `logits` points to when its stages are added. `scratch` and `logits` outlive it.
cpu::StagedWorkPtr head_work(const RmsNormWeights& norm, const Tensor& head, const Tensor& x,
                             void* const* logits, cpu::Scratch& scratch,
                             cpu::Isa isa = cpu::best_isa());

}  // namespace weft
