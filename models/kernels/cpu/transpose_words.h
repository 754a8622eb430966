#pragma once
// Matrices of 4-byte words turned over: fp32 numbers, or pairs of bf16 ones.
#include "models/kernels/cpu/isa.h"

namespace weft::cpu {

#define WEFT_DECLARE_TRANSPOSE_WORDS(ISA)                                                     \
  namespace ISA {                                                                             \
  /* to[c * to_stride + r] = word r * stride + c of `from`, r < rows, c < columns; strides */ \
  /* in words. `from` and `to` need no alignment. */                                          \
  void transpose_words(const void* from, long stride, long rows, long columns, void* to,      \
                       long to_stride);                                                       \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_TRANSPOSE_WORDS)
#undef WEFT_DECLARE_TRANSPOSE_WORDS

}  // namespace weft::cpu
