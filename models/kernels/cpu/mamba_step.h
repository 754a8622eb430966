#pragma once
// Raw CPU kernel of models/kernels/mamba_step.h: the kernels of its parts, on threads that meet
// where a part needs all that the one before it gives, instead of being started and joined for
// each.
#include "models/kernels/cpu/causal_conv.h"
#include "models/kernels/cpu/residual.h"
#include "models/kernels/cpu/selective_scan.h"
#include "models/kernels/cpu/stages.h"

namespace weft::cpu {

template <class S>
struct MambaStep {
  Residual<S> residual;          // [Bz, d]
  LinearRows<S> into[2];         // of norm(x) to conv's x and the scan's z [Bz, D]
  ConvStep<S> conv;              // x [Bz, 1, D] to y [Bz, 1, D], dense
  LinearRows<S> projections[3];  // of that y to dt's [Bz, R], B and C [Bz, N]
  const Compute<S>* norms[3];    // RMS norms' weights over what they give; all are null or none
  double norm_eps;
  LinearRows<S> dt;     // of the first one, normed, to [Bz, D]
  ScanForward<S> scan;  // of conv's y and all of them, `a` given; with norms it reads theirs
  LinearRows<S> out;    // of the scan's y to [Bz, d], which is added to x
};

// `scratch` outlives it.
template <class S>
StagedWorkPtr mamba_work(const MambaStep<S>& step, Scratch& scratch, Isa isa);

}  // namespace weft::cpu
