#pragma once
// One update of AdamW (models/kernels/adamw.h).
#include "models/kernels/adamw_raw.h"
#include "models/kernels/cpu/isa.h"

namespace weft::cpu {

// Elements begin .. end - 1, as compiled for each instruction set.
#define WEFT_DECLARE_ADAMW(ISA)                                                               \
  namespace ISA {                                                                             \
  template <class C>                                                                          \
  void adamw_range(const AdamWUpdate<C>& update, const AdamWValues<C>& values, int64_t begin, \
                   int64_t end);                                                              \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_ADAMW)
#undef WEFT_DECLARE_ADAMW

}  // namespace weft::cpu
