#pragma once
// Raw CPU kernel of models/kernels/rotate.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// The heads of one token: head h begins at x + h * x_head; y is dense. cos and sin [width].
template <class S>
struct TokenRotation {
  int64_t heads, width;
  const S* x;
  int64_t x_head;
  const S *cos, *sin;
  S* y;
};

// As compiled for each instruction set; `backward`: what dy = x makes of the gradient, y.
#define WEFT_DECLARE_ROTATE(ISA)                                      \
  namespace ISA {                                                     \
  template <class S>                                                  \
  void rotate_token(const TokenRotation<S>& rotation, bool backward); \
  }
WEFT_DECLARE_ROTATE(baseline)
WEFT_DECLARE_ROTATE(avx2)
WEFT_DECLARE_ROTATE(avx512)
#undef WEFT_DECLARE_ROTATE

}  // namespace weft::cpu
