#pragma once
// Raw CPU kernels of models/kernels/layer_norm.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// x, y [rows, width], weight and bias [width]; what the backward pass needs of each row: its mean,
// and 1 / sqrt(variance + eps).
template <class S>
struct LayerNormRows {
  int64_t rows, width;
  Compute<S> eps;
  const S* x;
  const Compute<S>*weight, *bias;
  S* y;
  Compute<S>*mean, *scale;
};

// dy, dx [rows, width]; dweight and dbias [width] are added to.
template <class S>
struct LayerNormGradients {
  int64_t rows, width;
  const S* x;
  const Compute<S>*weight, *mean, *scale;
  const S* dy;
  S* dx;
  Compute<S>*dweight, *dbias;
};

// As compiled for each instruction set.
#define WEFT_DECLARE_LAYER_NORM(ISA)                              \
  namespace ISA {                                                 \
  template <class S>                                              \
  void layer_norm_rows(const LayerNormRows<S>& of);               \
  template <class S>                                              \
  void layer_norm_backward_rows(const LayerNormGradients<S>& of); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_LAYER_NORM)
#undef WEFT_DECLARE_LAYER_NORM

}  // namespace weft::cpu
