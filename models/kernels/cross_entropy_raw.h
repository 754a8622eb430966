#pragma once
// What the raw CPU and CUDA kernels of the cross-entropy are given; they differ only by the stream.
// S is the storage type (float, double, Bf16). No functions, as in raw.h.
#include "models/kernels/raw.h"

namespace weft {

template <class S>
struct CrossEntropyRows {
  int64_t rows, vocab;
  S* logits;                 // [rows, vocab]; becomes the gradient, if that is wanted
  const int64_t* targets;    // [rows], negative where ignored
  Compute<S>*nll, *penalty;  // [rows]
  double z_loss, label_smoothing;
  bool gradient;
  double scale;  // of the gradient
};

}  // namespace weft
