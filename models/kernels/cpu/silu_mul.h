#pragma once
// Raw CPU kernel of models/kernels/silu_mul.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// y[i] = silu(gate[i]) up[i] for i < count.
template <class S>
void silu_mul(const S* gate, const S* up, S* y, int64_t count, Isa isa);

#define WEFT_DECLARE_SILU_MUL(ISA)                                      \
  namespace ISA {                                                       \
  template <class S>                                                    \
  void silu_mul_range(const S* gate, const S* up, S* y, int64_t count); \
  }
WEFT_DECLARE_SILU_MUL(baseline)
WEFT_DECLARE_SILU_MUL(avx2)
WEFT_DECLARE_SILU_MUL(avx512)
#undef WEFT_DECLARE_SILU_MUL

}  // namespace weft::cpu
