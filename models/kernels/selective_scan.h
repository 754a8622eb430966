#pragma once
// The selective scan of Mamba-1 (arXiv:2312.00752; equations in spec/models.md 9), fused with what
// surrounds it: softplus of the step size, the D skip and the z gate. With per channel c and state
// n
//   Delta_t[c]  = softplus(dt_t[c] + dt_bias[c]),   A = -exp(a_log)
//   h_t[c,n]    = exp(Delta_t[c] A[c,n]) h_{t-1}[c,n] + Delta_t[c] B_t[n] x_t[c]
//   y_t[c]      = (sum_n C_t[n] h_t[c,n] + D[c] x_t[c]) * silu(z_t[c])
// and h_{t-1} = 0 at the first token of each document. In training a row begins with a document;
// selective_scan_with_state goes on from the state that an earlier call left (spec/models.md 16).
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

struct SelectiveScanInputs {
  Tensor x;        // [Bz, T, D] fp32, fp64 or bf16 (the "storage type")
  Tensor dt;       // [Bz, T, D] storage type, before bias and softplus
  Tensor b;        // [Bz, T, N] storage type
  Tensor c;        // [Bz, T, N] storage type
  Tensor z;        // [Bz, T, D] storage type: the gate
  Tensor a_log;    // [D, N] fp32 (fp64 where storage is fp64)
  Tensor d;        // [D] as a_log
  Tensor dt_bias;  // [D] as a_log
  Tensor starts;   // [Bz, T] bool: first token of a document
  // [Bz, D, N] as a_log: what token 0 goes on from, unless it starts a document; undefined for
  // zeros, so that token 0 of a row always starts one.
  Tensor initial_state = {};
  // [D, N] as a_log: A = -exp(a_log), from those who scan token by token and keep it: for
  // selective_scan_with_state of one token on the CPU, which then does not read a_log. Else
  // undefined.
  Tensor a = {};
};

// y [Bz, T, D] in the storage type; state and sums in fp32 (fp64). Differentiable in all floating
// inputs; keeps O(T / chunk) states for the backward pass. Any sizes, strides and device; a wrong
// shape, type or device is a programmer's error. Results do not depend on the number of threads.
// `isa` is for tests: which of the CPU kernels to run. There must be no initial_state.
Tensor selective_scan(const SelectiveScanInputs& inputs, cpu::Isa isa = cpu::best_isa());

struct ScanOutputs {
  Tensor y;            // [Bz, T, D] in the storage type
  Tensor final_state;  // [Bz, D, N] as a_log: the state after the last token
};

// From initial_state to final_state, without gradients: grad mode is off, or no input requires
// them. A sequence in two calls gives what it gives in one. States of a channel lie next to each
// other because that is what one token is fastest with (T = 1 has kernels of its own); longer
// sequences transpose them once a call.
ScanOutputs selective_scan_with_state(const SelectiveScanInputs& inputs,
                                      cpu::Isa isa = cpu::best_isa());

// The same with the final state written into `final_state` (contiguous), which is also returned. It
// may be initial_state itself, which is then updated in place; else they must not overlap.
ScanOutputs selective_scan_with_state(const SelectiveScanInputs& inputs, const Tensor& final_state,
                                      cpu::Isa isa = cpu::best_isa());

// The same by one step after the other in plain operators, differentiable through autograd: slow,
// for tests.
ScanOutputs selective_scan_with_state_reference(const SelectiveScanInputs& inputs);
Tensor selective_scan_reference(const SelectiveScanInputs& inputs);

}  // namespace weft
