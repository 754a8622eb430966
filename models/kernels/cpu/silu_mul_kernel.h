#pragma once
// silu(gate) * up. Included as cpu/vector.h is.
#include "models/kernels/cpu/silu_mul.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

template <class S>
void silu_mul_range(const S* gate, const S* up, S* y, int64_t count) {
  using C = Compute<S>;
  for (int64_t i = 0; i < count; i += kLanes<C>) {
    const int some = count - i < kLanes<C> ? static_cast<int>(count - i) : kLanes<C>;
    const Vec<C> g = load(gate + i, some);
    store(y + i, g * sigmoid<C>(g) * load(up + i, some), some);
  }
}

template <class S>
void silu_mul_backward_range(const S* gate, const S* up, const S* dy, S* dgate, S* dup,
                             int64_t count) {
  using C = Compute<S>;
  for (int64_t i = 0; i < count; i += kLanes<C>) {
    const int some = count - i < kLanes<C> ? static_cast<int>(count - i) : kLanes<C>;
    const Vec<C> g = load(gate + i, some), d = load(dy + i, some), s = sigmoid<C>(g);
    store(dgate + i, d * load(up + i, some) * (s * (C(1) + g * (C(1) - s))), some);
    store(dup + i, d * (g * s), some);
  }
}

}  // namespace weft::cpu::WEFT_ISA
