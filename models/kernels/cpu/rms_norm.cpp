#include "models/kernels/cpu/rms_norm.h"

#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>

namespace weft::cpu {
namespace {

// Sums are kept in this many lanes, so that they vectorise with a fixed order.
constexpr int64_t kLanes = 16;

// Compiled for each instruction set and chosen when the program is loaded.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define WEFT_FOR_EACH_ISA \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WEFT_FOR_EACH_ISA
#endif

template <class C>
C sum_lanes(const C* lanes) {
  C sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

inline float wide(float x) { return x; }
inline double wide(double x) { return x; }
inline float wide(c10::BFloat16 x) {
  uint32_t bits = uint32_t{x.x} << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

template <class S, class C>
inline S rounded(C x) {
  if constexpr (std::is_same_v<S, C>) {
    return x;
  } else {  // to nearest even; a NaN becomes the quiet NaN
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    bits = x == x ? (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 : 0x7FC0;
    return c10::BFloat16(static_cast<uint16_t>(bits), c10::BFloat16::from_bits());
  }
}

// The type's own rounding, seen as the wide type.
template <class S, class C>
inline C through(C x) {
  return wide(rounded<S, C>(x));
}

template <class S, class C, class Y>
inline C forward_row(int64_t width, double eps, const S* x, const C* weight, Y* y) {
  C lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] += wide(x[i + j]) * wide(x[i + j]);
  }
  for (int64_t j = 0; i + j < width; ++j) lanes[j] += wide(x[i + j]) * wide(x[i + j]);
  const C scale = C(1) / std::sqrt(sum_lanes(lanes) / static_cast<C>(width) + static_cast<C>(eps));
  for (int64_t k = 0; k < width; ++k) {
    y[k] = rounded<Y, C>(through<S, C>(wide(x[k]) * scale) * through<S, C>(weight[k]));
  }
  return scale;
}

template <class S, class C>
inline void backward_row(int64_t width, const S* x, const C* weight, C scale, const S* dy, S* dx,
                         C* dweight) {
  C lanes[kLanes] = {};
  const auto product = [&](int64_t k) {
    return wide(dy[k]) * through<S, C>(weight[k]) * wide(x[k]);
  };
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] += product(i + j);
  }
  for (int64_t j = 0; i + j < width; ++j) lanes[j] += product(i + j);
  const C slope = sum_lanes(lanes) / static_cast<C>(width) * scale * scale;
  for (int64_t k = 0; k < width; ++k) {
    const C normalised = wide(x[k]) * scale;
    dweight[k] += wide(dy[k]) * through<S, C>(normalised);
    dx[k] = rounded<S, C>(scale * (wide(dy[k]) * through<S, C>(weight[k]) - wide(x[k]) * slope));
  }
}

#define WEFT_DEFINE_FORWARD(S, C, Y)                                                       \
  WEFT_FOR_EACH_ISA void forward_rows(int64_t rows, int64_t width, double eps, const S* x, \
                                      const C* weight, Y* y, C* rstd) {                    \
    for (int64_t r = 0; r < rows; ++r) {                                                   \
      const C scale = forward_row(width, eps, x + r * width, weight, y + r * width);       \
      if (rstd != nullptr) rstd[r] = scale;                                                \
    }                                                                                      \
  }
#define WEFT_DEFINE_BACKWARD(S, C)                                                               \
  WEFT_FOR_EACH_ISA void backward_rows(int64_t rows, int64_t width, const S* x, const C* weight, \
                                       const C* rstd, const S* dy, S* dx, C* dweight) {          \
    for (int64_t r = 0; r < rows; ++r) {                                                         \
      backward_row(width, x + r * width, weight, rstd[r], dy + r * width, dx + r * width,        \
                   dweight);                                                                     \
    }                                                                                            \
  }
#define WEFT_DEFINE_ROWS(S, C) WEFT_DEFINE_FORWARD(S, C, S) WEFT_DEFINE_BACKWARD(S, C)
WEFT_DEFINE_ROWS(float, float)
WEFT_DEFINE_ROWS(double, double)
WEFT_DEFINE_ROWS(c10::BFloat16, float)
WEFT_DEFINE_FORWARD(float, float, c10::BFloat16)

// f(task, first row, number of rows) for every task.
template <class F>
void for_each_task(int64_t rows, F f) {
  const int64_t tasks = (rows + kRmsNormRowsPerTask - 1) / kRmsNormRowsPerTask;
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * kRmsNormRowsPerTask;
      f(task, first, std::min(kRmsNormRowsPerTask, rows - first));
    }
  });
}

}  // namespace

template <class S, class C, class Y>
void rms_norm_forward(RmsNormShape s, const S* x, const C* weight, Y* y, C* rstd) {
  for_each_task(s.rows, [&](int64_t, int64_t first, int64_t rows) {
    forward_rows(rows, s.width, s.eps, x + first * s.width, weight, y + first * s.width,
                 rstd == nullptr ? nullptr : rstd + first);
  });
}

template <class S, class C>
void rms_norm_backward(RmsNormShape s, const S* x, const C* weight, const C* rstd, const S* dy,
                       S* dx, C* weight_partials) {
  for_each_task(s.rows, [&](int64_t task, int64_t first, int64_t rows) {
    C* partial = weight_partials + task * s.width;
    std::fill(partial, partial + s.width, C(0));
    backward_rows(rows, s.width, x + first * s.width, weight, rstd + first, dy + first * s.width,
                  dx + first * s.width, partial);
  });
}

#define WEFT_INSTANTIATE_FORWARD(S, C, Y) \
  template void rms_norm_forward<S, C, Y>(RmsNormShape, const S*, const C*, Y*, C*);
#define WEFT_INSTANTIATE(S, C)                                                                    \
  WEFT_INSTANTIATE_FORWARD(S, C, S)                                                               \
  template void rms_norm_backward<S, C>(RmsNormShape, const S*, const C*, const C*, const S*, S*, \
                                        C*);
WEFT_INSTANTIATE(float, float)
WEFT_INSTANTIATE(double, double)
WEFT_INSTANTIATE(c10::BFloat16, float)
WEFT_INSTANTIATE_FORWARD(float, float, c10::BFloat16)

}  // namespace weft::cpu
