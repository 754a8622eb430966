#pragma once
// Raw CPU kernel of models/kernels/swiglu_step.h: norm and products, one after the other on threads
// that meet in between instead of being started and joined for each.
#include "models/kernels/cpu/choose_experts.h"
#include "models/kernels/cpu/residual.h"
#include "models/kernels/cpu/stages.h"

namespace weft::cpu {

// Matrices [E, f, d], [E, f, d] and [E, d, f], E = 1 in a dense part; biases or null.
template <class S>
struct SwigluStep {
  Residual<S> residual;
  int64_t hidden;  // f
  const S *gate, *up, *down;
  const S *gate_bias, *up_bias, *down_bias;
  const Compute<S>* router;  // [E, d], or null: a dense part
  ExpertChoice choice;
};

// `scratch` outlives it.
template <class S>
StagedWorkPtr swiglu_work(const SwigluStep<S>& step, Scratch& scratch, Isa isa);

}  // namespace weft::cpu
