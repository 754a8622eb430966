#pragma once
// What the raw CPU and CUDA kernels of AdamW are given. C is float or double. No functions, as in
// raw.h.
#include "models/kernels/raw.h"

namespace weft {

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
  C* gradient;  // left zero
  C *m, *v;
  Bf16* copy;  // of the new master; null: none
};

}  // namespace weft
