#pragma once
// One token of each row of a batch through what stands between the two large projections of a
// Mamba-1 mixer (spec/models.md 9 and 16; arXiv:2312.00752): the convolution, the projections to
// the step size, B and C with Jamba's norms (arXiv:2403.19887), and the scan. Each takes
// microseconds, and so does starting an operator and its threads: all of them are one call here.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

struct MambaStepInputs {
  Tensor x, z;            // [Bz, 1, D] fp32, fp64 or bf16 (the "storage type"); z: the gate
  Tensor conv_weight;     // [D, K] fp32 (fp64 where storage is fp64)
  Tensor conv_bias;       // [D] as conv_weight, or undefined
  Tensor x_dt, x_b, x_c;  // [R, D], [N, D], [N, D] storage type
  Tensor dt_norm, b_norm, c_norm;  // [R], [N], [N] as conv_weight: RMS norms, or none
  double norm_eps = 0;
  Tensor dt;             // [D, R] storage type
  Tensor dt_bias, a, d;  // [D], [D, N], [D] as conv_weight; A = -exp(a_log)
  Tensor starts;         // [Bz, 1] bool: the token is the first of a document
};

// y [Bz, 1, D], before the projection back. `window` [Bz, K - 1, D] in the storage type and `h`
// [Bz, D, N] as conv_weight, both contiguous, are the convolution's last inputs and the scan's
// state, and move on by the token. On the CPU and without gradients; any other shape, type or
// device is a programmer's error. Equal bit for bit to causal_conv_silu_with_state, row_linear,
// rms_norm and selective_scan_with_state one after the other, for any number of threads.
Tensor mamba_step(const MambaStepInputs& inputs, Tensor& window, Tensor& h,
                  cpu::Isa isa = cpu::best_isa());

}  // namespace weft
