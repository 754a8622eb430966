#pragma once
// RMS norm of rows that stay in the first cache from one pass to the next. Included as
// cpu/vector.h is.
#include "models/kernels/cpu/rms_norm.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// 1 / root of the mean square.
template <class C>
inline C norm_scale(Vec<C> squares, int64_t width, double eps) {
  const C mean = static_cast<C>(sum_of_lanes<C>(squares) / static_cast<double>(width));
  return C(1) / root(mean + static_cast<C>(eps));
}

template <class S, class Y>
void rms_norm_rows(const NormRows<S, Y>& of) {
  using C = Compute<S>;
  for (int64_t row = 0; row < of.rows; ++row) {
    const S* x = of.x + row * of.x_stride;
    Y* const y = of.y + row * of.width;
    Vec<C> squares = {};
    if (of.added == nullptr) {
      for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
        const Vec<C> v = load(x + i, count);
        squares += v * v;
      });
    } else {
      const Y* const added = of.added + row * of.width;
      S* const sum = of.sum + row * of.width;
      for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
        const Vec<C> v = through<S>(load(x + i, count) + load(added + i, count));
        store(sum + i, v, count);
        squares += v * v;
      });
      x = sum;
    }
    const C scale = norm_scale<C>(squares, of.width, of.eps);
    for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
      const Vec<C> normed = through<S>(load(x + i, count) * scale);
      store(y + i, normed * through<S>(load(of.weight + i, count)), count);
    });
    if (of.scale != nullptr) of.scale[row] = scale;
  }
}

// With g = dy weight and x^ = x scale: dx = scale (g - x^ mean(g x^)).
template <class S, class Y>
void rms_norm_backward_rows(const NormGradients<S, Y>& of) {
  using C = Compute<S>;
  for (int64_t row = 0; row < of.rows; ++row) {
    const S* const x = of.x + row * of.x_stride;
    const Y* const dy = of.dy + row * of.width;
    const C scale = of.scale[row];
    Vec<C> products = {};
    for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
      products += load(dy + i, count) * through<S>(load(of.weight + i, count)) * load(x + i, count);
    });
    const double mean = sum_of_lanes<C>(products) / static_cast<double>(of.width);
    const C slope = static_cast<C>(mean) * scale * scale;
    for_each_vector<C>(0, of.width, [&](int64_t i, int count) {
      const Vec<C> v = load(x + i, count), d = load(dy + i, count);
      store(of.dweight + i, load(of.dweight + i, count) + d * through<S>(v * scale), count);
      Vec<C> dx = scale * (d * through<S>(load(of.weight + i, count)) - v * slope);
      if (of.dsum != nullptr) dx += load(of.dsum + row * of.width + i, count);
      store(of.dx + row * of.width + i, dx, count);
      if (of.dadded != nullptr) store(of.dadded + row * of.width + i, dx, count);
    });
  }
}

}  // namespace weft::cpu::WEFT_ISA
