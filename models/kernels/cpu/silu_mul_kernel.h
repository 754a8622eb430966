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

}  // namespace weft::cpu::WEFT_ISA
