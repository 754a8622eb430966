#pragma once
// The state-space duality operator of Mamba-2 (arXiv:2405.21060; equations in spec/models.md 10),
// which is a selective scan with one decay per head. With per head q, channel p and state n
//   h_t[p,n] = exp(dt_t a) h_{t-1}[p,n] + dt_t x_t[p] B_t[n]
//   y_t[p]   = sum_n C_t[n] h_t[p,n] + d x_t[p]
// and h_{t-1} = 0 at the first token of each document. It is computed chunk by chunk, inside a
// chunk as products of matrices (ssd_chunks.h).
#include "base/tensor.h"

namespace weft {

// Of the largest tensors of a pass, which some chunks go through at once: few enough for the caches
// of a CPU, enough work for a GPU.
inline constexpr int64_t kSsdPassBytes = 4 << 20, kSsdPassBytesOnGpu = 128 << 20;

struct SsdInputs {
  Tensor x;       // [Bz, T, Hs, P] fp32, fp64 or bf16 (the "storage type")
  Tensor dt;      // [Bz, T, Hs] fp32 (fp64): the step size after bias, softplus and clamp, >= 0
  Tensor a;       // [Hs] as dt: -exp(a_log), negative
  Tensor b;       // [Bz, T, G, N] storage type; head q reads group q / (Hs / G)
  Tensor c;       // [Bz, T, G, N] storage type
  Tensor d;       // [Hs] as dt: the skip
  Tensor starts;  // [Bz, T] bool: first token of a document
  Tensor initial_state;  // [Bz, Hs, P, N] as dt, or undefined for zeros: what token 0 goes on from
                         // unless it starts a document
};

struct SsdOutputs {
  Tensor y;            // [Bz, T, Hs, P] storage type, rounded once
  Tensor final_state;  // [Bz, Hs, P, N] as dt: after the last token; not differentiated
};

// Sums, decays and states are in fp32 (fp64). Differentiable in x, dt, a, b, c and d; keeps the
// inputs and one state per chunk for the backward pass. The chunk size (>= 1) changes time, memory
// and rounding only. Any sizes, strides and device; a wrong shape, type or device is a programmer's
// error. Unlike selective_scan, a NaN may reach the other documents of its row.
SsdOutputs ssd(const SsdInputs& inputs, int64_t chunk_size);

// The same by one step after the other in plain operators, differentiable through autograd: slow,
// for tests.
SsdOutputs ssd_reference(const SsdInputs& inputs);

}  // namespace weft
