#pragma once
// Raw CPU kernel of models/kernels/head_step.h.
#include "models/kernels/cpu/residual.h"

namespace weft::cpu {

template <class S>
struct HeadStep {
  Residual<S> residual;
  int64_t vocab;
  const S* head;       // [V, d]
  Compute<S>* logits;  // [rows, V]
};

template <class S>
void head_step(const HeadStep<S>& step, Isa isa);

}  // namespace weft::cpu
