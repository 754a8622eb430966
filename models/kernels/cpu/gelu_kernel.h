#pragma once
// gelu in its tanh form: with (1 + tanh(u)) / 2 = sigmoid(2 u) it is x sigmoid(2 u). Included as
// cpu/vector.h is.
#include "models/kernels/cpu/gelu.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

constexpr double kTwoRootTwoOverPi = 1.59576912160573071176;  // 2 sqrt(2 / pi)
constexpr double kGeluCubic = 0.044715;
// Beyond it gelu is 0 or x; numbers up to it cause no overflow.
constexpr double kGeluBound = 50;

// sigmoid(2 u), what it lacks to 1 without cancellation, and the derivative of 2 u. REQUIRES: |x|
// <= kGeluBound.
template <class C>
struct GeluGate {
  Vec<C> gate, rest, slope;
};
template <class C>
inline GeluGate<C> gelu_gate(Vec<C> x) {
  constexpr C kScale = static_cast<C>(kTwoRootTwoOverPi), kCubic = static_cast<C>(kGeluCubic);
  const Vec<C> square = x * x;
  const Vec<C> e = exp<C>(-kScale * x * (C(1) + kCubic * square)), gate = C(1) / (C(1) + e);
  return {gate, e * gate, kScale * (C(1) + C(3) * kCubic * square)};
}

template <class S>
void gelu_range(const S* x, S* y, int64_t count) {
  using C = Compute<S>;
  for (int64_t i = 0; i < count; i += kLanes<C>) {
    const int some = count - i < kLanes<C> ? static_cast<int>(count - i) : kLanes<C>;
    const Vec<C> v = at_least(load(x + i, some), static_cast<C>(-kGeluBound));
    store(y + i, v * gelu_gate<C>(at_most(v, static_cast<C>(kGeluBound))).gate, some);
  }
}

template <class S>
void gelu_backward_range(const S* x, const S* dy, S* dx, int64_t count) {
  using C = Compute<S>;
  for (int64_t i = 0; i < count; i += kLanes<C>) {
    const int some = count - i < kLanes<C> ? static_cast<int>(count - i) : kLanes<C>;
    constexpr C kBound = static_cast<C>(kGeluBound);
    const Vec<C> v = at_most(at_least(load(x + i, some), -kBound), kBound);
    const GeluGate<C> of = gelu_gate<C>(v);
    const Vec<C> curve = of.gate * of.rest * of.slope;
    store(dx + i, load(dy + i, some) * (of.gate + v * curve), some);
  }
}

}  // namespace weft::cpu::WEFT_ISA
