#pragma once
// What the raw CPU and CUDA kernels of the causal convolution are given; they differ only by the
// stream. S is the storage type (float, double, Bf16), Compute<S> that of sums and parameters. No
// functions, as in raw.h.
//
// Time is cut into tiles of kConvSteps tokens, the last one of a row shorter.
#include "models/kernels/raw.h"

namespace weft {

inline constexpr int kConvSteps = 64;

struct ConvShape {
  int64_t batch, time, channels, taps;
};

// x [Bz, T, D]; weight [D, K], bias [D] (or null) and starts [Bz, T] are dense.
template <class S>
struct ConvInputs {
  ConvShape shape;
  Rows<const S> x;
  const Compute<S>*weight, *bias;
  const bool* starts;
};

template <class S>
struct ConvForward {
  ConvInputs<S> in;
  Rows<S> y;
};

// The one token of x and y, [Bz, 1, D], with window [Bz, K-1, D], which is dense and moves on.
template <class S>
struct ConvStep {
  ConvInputs<S> in;
  Rows<S> y;
  S* window;
};

// Gradients as their inputs. Partial sums: dweight [Bz * tiles, D, K], dbias [Bz * tiles, D].
template <class S>
struct ConvBackward {
  ConvInputs<S> in;
  Rows<const S> dy;
  Rows<S> dx;
  Compute<S>*dweight, *dbias;
};

}  // namespace weft
