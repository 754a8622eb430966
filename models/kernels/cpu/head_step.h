#pragma once
// Raw CPU kernel of models/kernels/head_step.h.
#include "models/kernels/cpu/residual.h"
#include "models/kernels/cpu/stages.h"

namespace weft::cpu {

template <class S>
struct HeadStep {
  Residual<S> residual;
  int64_t vocab;
  const S* head;        // [V, d]
  void* const* logits;  // where Compute<S> [rows, V] is when stages are added
};

// `scratch` outlives it.
template <class S>
StagedWorkPtr head_work(const HeadStep<S>& step, Scratch& scratch, Isa isa);

}  // namespace weft::cpu
