#pragma once
// The rows that silu(gate) * up is made of, and its gradients. No functions, as in raw.h.
#include "models/kernels/raw.h"

namespace weft {

// Some neighbouring numbers of every row: those of row i begin at data + i * stride.
template <class S>
struct Columns {
  S* data;
  int64_t stride;
};

// All [rows, width].
template <class S>
struct SiluMulForward {
  int64_t rows, width;
  Columns<const S> gate, up;
  Columns<S> y;
};

template <class S>
struct SiluMulBackward {
  int64_t rows, width;
  Columns<const S> gate, up, dy;
  Columns<S> dgate, dup;
};

}  // namespace weft
