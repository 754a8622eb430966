#pragma once
// What the raw CPU and CUDA kernels of the selective scan are given; they differ only by the
// stream. S is the storage type (float, double, Bf16), Compute<S> that of states, sums and the
// parameters A, D and bias. No functions, as in raw.h.
//
// Time is cut into chunks of kScanChunk tokens. The forward pass keeps the state that enters each
// chunk; the backward pass walks the chunks from the last to the first and makes the states inside
// a chunk again. Channels are cut into groups, whose size is the kernels' own.
#include "models/kernels/raw.h"

namespace weft {

inline constexpr int kScanChunk = 32;

struct ScanShape {
  int64_t batch, time, channels, states;
};

// What both passes read. x, dt, z [Bz, T, D]; b, c [Bz, T, N]; a_log [D, N], d [D], dt_bias [D]
// and starts [Bz, T] are dense.
template <class S>
struct ScanInputs {
  ScanShape shape;
  Rows<const S> x, dt, b, c, z;
  const Compute<S>*a_log, *d, *dt_bias;
  const bool* starts;
  const Compute<S>*
      a;  // -exp(a_log) [D, N] or null; read, instead of a_log, by the CPU's step alone
};

// y [Bz, T, D]; entering [Bz, chunks, N, D]: the states before each chunk's first token, or null if
// there will be no backward pass. initial_state and final_state [Bz, D, N] are dense, and may be
// the same: the states before token 0, or null for zeros, and those after the last token, or null
// if nobody asks. There is at least one token where final_state is not null.
template <class S>
struct ScanForward {
  ScanInputs<S> in;
  Rows<S> y;
  Compute<S>* entering;
  const Compute<S>* initial_state;
  Compute<S>* final_state;
};

// Gradients as their inputs. Partial sums: db, dc [groups, Bz, T, N], da_log [Bz, D, N], dd and
// ddt_bias [Bz, D].
template <class S>
struct ScanBackward {
  ScanInputs<S> in;
  const Compute<S>* entering;
  Rows<const S> dy;
  Rows<S> dx, ddt, dz;
  Compute<S>*db, *dc, *da_log, *dd, *ddt_bias;
  Compute<S>* carries;  // [Bz, D, N], scratch of the CUDA kernel; null on the CPU
};

}  // namespace weft
