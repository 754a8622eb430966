#pragma once
// Raw CPU kernels of models/kernels/rms_norm.h; S is the storage type, C the type of sums and
// weight.
#include <cstdint>

namespace weft::cpu {

struct RmsNormShape {
  int64_t rows, width;
  double eps;
};

// Rows of which one task is made: the weight's gradient is summed inside tasks, then over them in
// order.
inline constexpr int64_t kRmsNormRowsPerTask = 256;

// x, y [rows, width] contiguous, weight [width]; rstd [rows] is kept for the backward pass,
// or null. y has x's type S, or a narrower one to which results in S are rounded.
template <class S, class C, class Y>
void rms_norm_forward(RmsNormShape shape, const S* x, const C* weight, Y* y, C* rstd);

// dy, dx [rows, width]; weight_partials [tasks, width], one row a task, summed by the caller.
template <class S, class C>
void rms_norm_backward(RmsNormShape shape, const S* x, const C* weight, const C* rstd, const S* dy,
                       S* dx, C* weight_partials);

}  // namespace weft::cpu
