#pragma once
// Rotations of the heads of a token. Included as cpu/vector.h is.
#include "models/kernels/cpu/rotate.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

template <class S>
void rotate_token(const TokenRotation<S>& r, bool backward) {
  using C = Compute<S>;
  const int64_t half = r.width / 2;
  // Backward a channel gets what its pair took from it.
  const S *sin_first = r.sin + (backward ? half : 0), *sin_second = r.sin + (backward ? 0 : half);
  for (int64_t i = 0; i < half; i += kLanes<C>) {
    const int some = half - i < kLanes<C> ? static_cast<int>(half - i) : kLanes<C>;
    const Vec<C> cos_a = load(r.cos + i, some), cos_b = load(r.cos + half + i, some);
    const Vec<C> sin_a = load(sin_first + i, some), sin_b = load(sin_second + i, some);
    for (int64_t h = 0; h < r.heads; ++h) {
      const S* const x = r.x + h * r.x_head + i;
      S* const y = r.y + h * r.width + i;
      const Vec<C> a = load(x, some), b = load(x + half, some);
      store(y, a * cos_a + b * sin_a, some);
      store(y + half, b * cos_b + a * sin_b, some);
    }
  }
}

}  // namespace weft::cpu::WEFT_ISA
