#pragma once
// Raw CPU kernels of models/kernels/column_sums.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// `rows` rows, the first number of row i at data + i * stride.
template <class S>
struct SummedRows {
  const S* data;
  int64_t stride, rows;
};

// sum[c] += the sum of column c, begin <= c < end; as compiled for each instruction set.
#define WEFT_DECLARE_COLUMN_SUMS(ISA)                                                          \
  namespace ISA {                                                                              \
  template <class S>                                                                           \
  void column_sums_range(const SummedRows<S>& x, int64_t begin, int64_t end, Compute<S>* sum); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_COLUMN_SUMS)
#undef WEFT_DECLARE_COLUMN_SUMS

}  // namespace weft::cpu
