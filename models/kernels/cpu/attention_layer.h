#pragma once
// A layer's attention for one token of each row. Apart from attention_step.h, which files compiled
// for one instruction set read: what this includes has inline functions, which must not be compiled
// there.
#include "models/kernels/cpu/attention_step.h"
#include "models/kernels/cpu/residual.h"
#include "models/kernels/cpu/stages.h"

namespace weft::cpu {

template <class S>
struct AttentionLayer {
  Residual<S> residual;
  LinearRows<S> into[3];       // of norm(x) to the step's q, k and v
  const Compute<S>* norms[2];  // RMS norms' weights [width] over each head's q and k, or null
  double norm_eps;
  AttentionStepRaw<S> step;
  LinearRows<S> out;  // of the step's y, which is added to x
};

// From the norm before attention to the residual stream behind it; each time for the lengths that
// there are when its stages are added. `scratch` outlives it.
template <class S>
StagedWorkPtr attention_layer_work(const AttentionLayer<S>& layer, Scratch& scratch, Isa isa);

}  // namespace weft::cpu
