#pragma once
// One piece of models/kernels/sum_of_squares.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// As compiled for each instruction set; of fp32, whose squares are exact, the same bits from all.
#define WEFT_DECLARE_SUM(ISA)                                  \
  namespace ISA {                                              \
  template <class C>                                           \
  double sum_of_squares_range(const C* values, int64_t count); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_SUM)
#undef WEFT_DECLARE_SUM

}  // namespace weft::cpu
