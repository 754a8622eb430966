#pragma once
// What the raw CPU and CUDA kernels of experts' rows are given (models/kernels/expert_rows.h); they
// differ only by the stream. S is the storage type (float, double, Bf16), Compute<S> that of sums
// and weights. No functions, as in raw.h.
//
// Letters: n tokens, k = top_k assignments each, R rows; all tensors are dense.
#include "models/kernels/raw.h"

namespace weft {

// out[t] = sum over the slots of token t, in ascending order, of weight * row.
template <class S>
struct CombineRows {
  int64_t tokens, top_k, width;
  const S* in;                // [R, width]
  const int64_t* row;         // [n, k]
  const Compute<S>* weights;  // [n, k]; null: all 1
  S* out;                     // [n, width]
  bool aligned;               // rows of `in` and `out` begin and end at multiples of 16 bytes
};

// out[r] = weight * token of the assignment of row r; zeros where there is none. With `dots` also
// dots[a] = the product of the token and row r of `in`, for assignment a of row r.
template <class S>
struct SpreadRows {
  int64_t rows, top_k, width;
  const int64_t* assignment;  // [R]; -1: none
  const S* tokens;            // [n, width]
  const Compute<S>* weights;  // [n, k]; null: all 1
  S* out;                     // [R, width]
  const S* in;                // [R, width]; read with `dots` only
  Compute<S>* dots;           // [n, k]; null: not wanted
  bool aligned;               // as above, of all that is read or written
};

}  // namespace weft
