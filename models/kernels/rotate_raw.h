#pragma once
// What the raw kernels of models/kernels/rotate.h take, on the CPU and on a GPU.
#include "models/kernels/raw.h"

namespace weft {

// A tensor [Bz, T, H, e] whose channels are dense: element (b, t, h, i) is
// data[b * batch_stride + t * token_stride + h * head_stride + i].
template <class S>
struct HeadRows {
  S* data;
  int64_t batch_stride, token_stride, head_stride;
};

struct HeadsShape {
  int64_t batch, time, heads, width;
};

// The RMS norm of each head before its rotation; none where weight is null.
template <class S>
struct HeadNorm {
  const Compute<S>* weight;  // [e]
  double eps;
};

// cos and sin have one head.
template <class S>
struct HeadRotation {
  HeadsShape shape;
  HeadRows<const S> x, cos, sin;
  HeadNorm<S> norm;
  S* y;           // dense
  bool backward;  // what dy = x makes of the gradient, y; without a norm
};

// Of a rotation with a norm.
template <class S>
struct HeadRotationGradients {
  HeadsShape shape;
  HeadRows<const S> x, dy, cos, sin;
  HeadNorm<S> norm;
  S* dx;                // dense
  Compute<S>* dweight;  // [e] on the CPU, which adds to it; [tasks, e] on a GPU
};

}  // namespace weft
