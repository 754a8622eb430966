#pragma once
// What attention_layer_step is given. Apart from attention_step.h, which files compiled for one
// instruction set read: residual.h has inline functions, which must not be compiled there.
#include "models/kernels/cpu/attention_step.h"
#include "models/kernels/cpu/residual.h"

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

}  // namespace weft::cpu
