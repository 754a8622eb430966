#pragma once
// silu(gate) * up, the middle of a SwiGLU part (models/kernels/silu_mul.h,
// models/kernels/swiglu_step.h).
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// y[i] = silu(gate[i]) up[i] for i < count, in Compute<S> and rounded once, as compiled for each
// instruction set; y may be gate. And what dy makes of it: dgate and dup.
#define WEFT_DECLARE_SILU_MUL(ISA)                                                        \
  namespace ISA {                                                                         \
  template <class S>                                                                      \
  void silu_mul_range(const S* gate, const S* up, S* y, int64_t count);                   \
  template <class S>                                                                      \
  void silu_mul_backward_range(const S* gate, const S* up, const S* dy, S* dgate, S* dup, \
                               int64_t count);                                            \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_SILU_MUL)
#undef WEFT_DECLARE_SILU_MUL

}  // namespace weft::cpu
