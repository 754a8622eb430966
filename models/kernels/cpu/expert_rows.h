#pragma once
// Raw CPU kernels of models/kernels/expert_rows.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/expert_rows_raw.h"

namespace weft::cpu {

// Tokens, resp. rows, begin .. end - 1; as compiled for each instruction set.
#define WEFT_DECLARE_EXPERT_ROWS(ISA)                                      \
  namespace ISA {                                                          \
  template <class S>                                                       \
  void combine_rows(const CombineRows<S>& of, int64_t begin, int64_t end); \
  template <class S>                                                       \
  void spread_rows(const SpreadRows<S>& of, int64_t begin, int64_t end);   \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_EXPERT_ROWS)
#undef WEFT_DECLARE_EXPERT_ROWS

}  // namespace weft::cpu
