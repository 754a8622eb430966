#pragma once
// Raw CPU kernels of models/kernels/rotate.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/rotate_raw.h"

namespace weft::cpu {

// As compiled for each instruction set: tokens begin .. end - 1 of all rows.
#define WEFT_DECLARE_ROTATE(ISA)                                                               \
  namespace ISA {                                                                              \
  template <class S>                                                                           \
  void rotate_tokens(const HeadRotation<S>& rotation, int64_t begin, int64_t end);             \
  template <class S>                                                                           \
  void rotate_tokens_backward(const HeadRotationGradients<S>& of, int64_t begin, int64_t end); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_ROTATE)
#undef WEFT_DECLARE_ROTATE

}  // namespace weft::cpu
