#pragma once
// One update of AdamW (models/kernels/adamw.h).
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

template <class C>
struct AdamWUpdate {
  C gradient_scale, beta1, beta2, one_minus_beta1, one_minus_beta2;
  C decay;       // learning rate * weight decay
  C step_size;   // learning rate / (1 - beta1^t)
  C root_scale;  // 1 / sqrt(1 - beta2^t)
  C eps;
};

template <class C>
struct AdamWValues {
  C* master;
  const C* gradient;
  C *m, *v;
  Bf16* copy;  // of the new master; null: none
};

// Elements begin .. end - 1, as compiled for each instruction set.
#define WEFT_DECLARE_ADAMW(ISA)                                                               \
  namespace ISA {                                                                             \
  template <class C>                                                                          \
  void adamw_range(const AdamWUpdate<C>& update, const AdamWValues<C>& values, int64_t begin, \
                   int64_t end);                                                              \
  }
WEFT_DECLARE_ADAMW(baseline)
WEFT_DECLARE_ADAMW(avx2)
WEFT_DECLARE_ADAMW(avx512)
#undef WEFT_DECLARE_ADAMW

}  // namespace weft::cpu
