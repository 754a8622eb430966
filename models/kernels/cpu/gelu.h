#pragma once
// Raw CPU kernels of models/kernels/gelu.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// y[i] = gelu(x[i]) for i < count, and what dy makes of it; as compiled for each instruction set.
#define WEFT_DECLARE_GELU(ISA)                                             \
  namespace ISA {                                                          \
  template <class S>                                                       \
  void gelu_range(const S* x, S* y, int64_t count);                        \
  template <class S>                                                       \
  void gelu_backward_range(const S* x, const S* dy, S* dx, int64_t count); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_GELU)
#undef WEFT_DECLARE_GELU

}  // namespace weft::cpu
