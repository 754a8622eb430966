#pragma once
// Raw CPU kernel of models/kernels/cross_entropy.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/cross_entropy_raw.h"

namespace weft::cpu {

template <class S>
void cross_entropy(const CrossEntropyRows<S>& rows, Isa isa);

// One row, as compiled for each instruction set. workspace: vocab numbers in Compute<S>, aligned to
// 64 bytes; unused without the gradient.
#define WEFT_DECLARE_CROSS_ENTROPY(ISA)                                                        \
  namespace ISA {                                                                              \
  template <class S>                                                                           \
  void cross_entropy_row(const CrossEntropyRows<S>& rows, int64_t row, Compute<S>* workspace); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_CROSS_ENTROPY)
#undef WEFT_DECLARE_CROSS_ENTROPY

}  // namespace weft::cpu
