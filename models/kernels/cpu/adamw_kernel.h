#pragma once
// One update of AdamW. Included as cpu/vector.h is.
#include "models/kernels/cpu/adamw.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

inline Vec<float> square_root(Vec<float> x) { return WEFT_VECTOR_OP(sqrt_ps)(x); }
inline Vec<double> square_root(Vec<double> x) { return WEFT_VECTOR_OP(sqrt_pd)(x); }

inline void store_copy(Bf16* to, Vec<float> x, int count) { store(to, x, count); }
inline void store_copy(Bf16*, Vec<double>, int) {}  // fp64 masters have none

template <class C>
void adamw_range(const AdamWUpdate<C>& update, const AdamWValues<C>& values, int64_t begin,
                 int64_t end) {
  const AdamWUpdate<C> u = update;
  const AdamWValues<C> at = values;
  for (int64_t i = begin; i < end; i += kLanes<C>) {
    const int some = end - i < kLanes<C> ? static_cast<int>(end - i) : kLanes<C>;
    const Vec<C> g = load(at.gradient + i, some) * u.gradient_scale;
    const Vec<C> m = load(at.m + i, some) * u.beta1 + g * u.one_minus_beta1;
    const Vec<C> v = load(at.v + i, some) * u.beta2 + g * g * u.one_minus_beta2;
    Vec<C> p = load(at.master + i, some);
    p -= p * u.decay;
    p -= u.step_size * m / (square_root(v) * u.root_scale + u.eps);
    store(at.m + i, m, some);
    store(at.v + i, v, some);
    store(at.master + i, p, some);
    store(at.gradient + i, Vec<C>{}, some);
    if (at.copy != nullptr) store_copy(at.copy + i, p, some);
  }
}

}  // namespace weft::cpu::WEFT_ISA
