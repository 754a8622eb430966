#pragma once
// LayerNorm of rows that stay in the first cache from one pass to the next. Included as
// cpu/vector.h is.
#include "models/kernels/cpu/layer_norm.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// Lanes from `count` on become zeros.
template <class C>
inline Vec<C> first_of(Vec<C> v, int count) {
  if (count >= kLanes<C>) return v;
  for (int i = count; i < kLanes<C>; ++i) v[i] = 0;
  return v;
}

template <class S>
void layer_norm_rows(const LayerNormRows<S>& of) {
  using C = Compute<S>;
  const auto n = static_cast<double>(of.width);
  for (int64_t row = 0; row < of.rows; ++row) {
    const S* x = of.x + row * of.width;
    S* y = of.y + row * of.width;
    Vec<C> sum = {};
    for_each_vector<C>(0, of.width, [&](int64_t i, int count) { sum += load(x + i, count); });
    const C mean = static_cast<C>(sum_of_lanes<C>(sum) / n);
    Vec<C> squares = {};
    for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
      const Vec<C> centred = first_of<C>(load(x + i, count) - mean, count);
      squares += centred * centred;
    });
    const C scale = C(1) / root(static_cast<C>(sum_of_lanes<C>(squares) / n) + of.eps);
    for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
      const Vec<C> normed = (load(x + i, count) - mean) * scale;
      store(y + i, normed * load(of.weight + i, count) + load(of.bias + i, count), count);
    });
    of.mean[row] = mean;
    of.scale[row] = scale;
  }
}

// With g = dy weight and x^ = (x - mean) scale: dx = scale (g - mean(g) - x^ mean(g x^)).
template <class S>
void layer_norm_backward_rows(const LayerNormGradients<S>& of) {
  using C = Compute<S>;
  const auto n = static_cast<double>(of.width);
  for (int64_t row = 0; row < of.rows; ++row) {
    const S *x = of.x + row * of.width, *dy = of.dy + row * of.width;
    S* dx = of.dx + row * of.width;
    const C mean = of.mean[row], scale = of.scale[row];
    Vec<C> sum = {}, products = {};
    for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
      const Vec<C> d = load(dy + i, count), normed = (load(x + i, count) - mean) * scale;
      const Vec<C> g = d * load(of.weight + i, count);  // zero behind the last
      sum += g;
      products += g * normed;
      store(of.dweight + i, load(of.dweight + i, count) + d * normed, count);
      store(of.dbias + i, load(of.dbias + i, count) + d, count);
    });
    const C mean_g = static_cast<C>(sum_of_lanes<C>(sum) / n);
    const C mean_product = static_cast<C>(sum_of_lanes<C>(products) / n);
    for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
      const Vec<C> normed = (load(x + i, count) - mean) * scale;
      const Vec<C> g = load(dy + i, count) * load(of.weight + i, count);
      store(dx + i, scale * (g - mean_g - normed * mean_product), count);
    });
  }
}

}  // namespace weft::cpu::WEFT_ISA
