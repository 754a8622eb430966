#pragma once
// Raw CPU kernels of models/kernels/rms_norm.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/rms_norm_raw.h"

namespace weft::cpu {

// As compiled for each instruction set; S and Y are the same type, or float and Bf16.
#define WEFT_DECLARE_RMS_NORM(ISA)                            \
  namespace ISA {                                             \
  template <class S, class Y>                                 \
  void rms_norm_rows(const NormRows<S, Y>& rows);             \
  template <class S, class Y>                                 \
  void rms_norm_backward_rows(const NormGradients<S, Y>& of); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_RMS_NORM)
#undef WEFT_DECLARE_RMS_NORM

}  // namespace weft::cpu
