#pragma once
// One token of each row of a batch through a Mamba-1 layer's mixer (spec/models.md 9 and 16;
// arXiv:2312.00752), from the norm before it to the residual stream behind it: the projection, the
// convolution, the projections to the step size, B and C with Jamba's norms (arXiv:2403.19887), the
// scan, and the projection back. Each takes microseconds, and so does starting an operator and its
// threads: all of them are one call here.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/cpu/scratch.h"
#include "models/kernels/cpu/stages.h"
#include "models/kernels/rms_norm_weights.h"

namespace weft {

// All contiguous; matrices and their biases have the type in which the layer computes, fp32, fp64
// or bf16 (the "storage type"), and what is marked * is fp32 (fp64 where storage is fp64).
struct MambaStepWeights {
  RmsNormWeights norm;                      // [d] *
  Tensor in_x, in_z, in_x_bias, in_z_bias;  // [D, d] twice, [D] twice or undefined
  Tensor conv_weight, conv_bias;            // [D, K] *, [D] * or undefined
  Tensor x_dt, x_b, x_c;                    // [R, D], [N, D], [N, D]
  Tensor dt_norm, b_norm, c_norm;           // [R], [N], [N] *: RMS norms, or none
  double norm_eps = 0;                      // theirs
  Tensor dt, dt_bias, a, d;                 // [D, R], [D] *, [D, N] * = -exp(a_log), [D] *
  Tensor out, out_bias;                     // [d, D], [d] or undefined
};

// What goes on from token to token, contiguous, and moves on by the token.
struct MambaStepState {
  Tensor window;  // [Bz, K - 1, D]: the convolution's last inputs
  Tensor h;       // [Bz, D, N] *: the scan's state
};

// Adds to x [Bz, 1, d], in the storage type or the wider one, what the mixer makes of norm(x).
// starts [Bz, 1] bool: the token is the first of a document. On the CPU and without gradients; any
// other shape, type or device is a programmer's error. Equal bit for bit to rms_norm, row_linear,
// causal_conv_silu_with_state and selective_scan_with_state one after the other, for any number of
// threads.
void mamba_step(const MambaStepWeights& weights, const Tensor& starts, const MambaStepState& state,
                Tensor& x, cpu::Isa isa = cpu::best_isa());

// The same for token after token: each time for what x and starts have in them then. `scratch`
// outlives it.
cpu::StagedWorkPtr mamba_work(const MambaStepWeights& weights, const Tensor& starts,
                              const MambaStepState& state, const Tensor& x, cpu::Scratch& scratch,
                              cpu::Isa isa = cpu::best_isa());

}  // namespace weft
