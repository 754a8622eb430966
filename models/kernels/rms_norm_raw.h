#pragma once
// What the raw RMS norm kernels take, on the CPU and on a GPU.
#include "models/kernels/raw.h"

namespace weft {

// Rows of a residual stream, stored as S, to which `added` is added before the norm, if there is
// something to add. What is added and what comes out is stored as Y: S, or a narrower type.
// [rows, width] each, dense but for x.
template <class S, class Y>
struct NormRows {
  int64_t rows, width;
  double eps;
  const S* x;
  int64_t x_stride;          // elements from row to row
  const Y* added;            // or null
  S* sum;                    // x + added, rounded to S; null where nothing is added
  const Compute<S>* weight;  // [width]
  Y* y;
  Compute<S>* scale;  // [rows]: 1 / root of the mean square, for backward; or null
};

template <class S, class Y>
struct NormGradients {
  int64_t rows, width;
  const S* x;  // what was normalised
  int64_t x_stride;
  const Compute<S>*weight, *scale;
  const Y* dy;
  const S* dsum;  // what else flows into the sum; or null
  S* dx;
  Y* dadded;            // dx rounded to Y; or null
  Compute<S>* dweight;  // [width] on the CPU, which adds to it; [tasks, width] on a GPU
};

}  // namespace weft
