#pragma once
// Vectors of channels for the CPU kernels, in GCC's vector extensions. Included only by files that
// are compiled for one instruction set, which define WEFT_ISA as the name of its namespace: nothing
// here is shared between instruction sets, and no header with inline functions is included but that
// of intrinsics, which are always inlined.
#include <immintrin.h>
#include <stdint.h>

#include "models/kernels/raw.h"

#ifndef WEFT_ISA
#error "define WEFT_ISA before including the kernels"
#endif

namespace weft::cpu::WEFT_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#define WEFT_VECTOR_OP(name) _mm512_##name
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#define WEFT_VECTOR_OP(name) _mm256_##name
#else
constexpr int kVectorBytes = 16;
#define WEFT_VECTOR_OP(name) _mm_##name
#endif

template <class C>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float Type __attribute__((vector_size(kVectorBytes)));
  typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<double> {
  typedef double Type __attribute__((vector_size(kVectorBytes)));
  typedef uint64_t Bits __attribute__((vector_size(kVectorBytes)));
};
typedef uint16_t HalfBits __attribute__((vector_size(kVectorBytes / 2)));

template <class C>
using Vec = typename VectorOf<C>::Type;
template <class C>
using VecBits = typename VectorOf<C>::Bits;

// Channels in a vector.
template <class C>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(C));

inline float widen(float x) { return x; }
inline double widen(double x) { return x; }
inline float widen(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

template <class C>
inline Vec<C> load_full(const C* from) {
  Vec<C> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
inline Vec<float> load_full(const Bf16* from) {
  HalfBits half;
  __builtin_memcpy(&half, from, sizeof half);
  return reinterpret_cast<Vec<float>>(__builtin_convertvector(half, VecBits<float>) << 16);
}

template <class C>
inline void store_full(C* to, Vec<C> v) {
  __builtin_memcpy(to, &v, sizeof v);
}
// To the nearest bf16 number, to even where two are as near; a NaN becomes a quiet NaN. The
// processor's own instruction takes numbers below the normal ones for zeros.
#if defined(__AVX512BF16__)
inline HalfBits to_bf16(Vec<float> v) { return reinterpret_cast<HalfBits>(_mm512_cvtneps_pbh(v)); }
inline Vec<float> rounded_to_bf16(Vec<float> v) {
  return reinterpret_cast<Vec<float>>(__builtin_convertvector(to_bf16(v), VecBits<float>) << 16);
}
#else
inline Vec<float> rounded_to_bf16(Vec<float> v) {
  const VecBits<float> bits = reinterpret_cast<VecBits<float>>(v);
  const VecBits<float> rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000;
  const VecBits<float> quiet = VecBits<float>{} + 0x7FC00000;
  return reinterpret_cast<Vec<float>>(v == v ? rounded : quiet);
}
inline HalfBits to_bf16(Vec<float> v) {
  const VecBits<float> bits = reinterpret_cast<VecBits<float>>(rounded_to_bf16(v)) >> 16;
  return __builtin_convertvector(bits, HalfBits);
}
#endif
inline void store_full(Bf16* to, Vec<float> v) {
  const HalfBits half = to_bf16(v);
  __builtin_memcpy(to, &half, sizeof half);
}

// What v is after being stored as S.
template <class S>
inline Vec<Compute<S>> through(Vec<Compute<S>> v) {
  if constexpr (sizeof(S) == sizeof(Compute<S>)) {
    return v;
  } else {
    return rounded_to_bf16(v);
  }
}

// The first `count` lanes (all, if there are fewer); those behind them are 0 when loaded and left
// alone when stored, and their memory is not touched.
#if defined(__AVX512F__)
inline unsigned first_lanes(int count) { return count > 0 ? (1U << count) - 1 : 0; }

inline Vec<float> load(const float* from, int count) {
  if (count >= kLanes<float>) return load_full(from);
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(first_lanes(count)), from);
}
inline Vec<double> load(const double* from, int count) {
  if (count >= kLanes<double>) return load_full(from);
  return _mm512_maskz_loadu_pd(static_cast<__mmask8>(first_lanes(count)), from);
}
inline Vec<float> load(const Bf16* from, int count) {
  if (count >= kLanes<float>) return load_full(from);
  const __m256i half = _mm256_maskz_loadu_epi16(static_cast<__mmask16>(first_lanes(count)), from);
  return reinterpret_cast<Vec<float>>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline void store(float* to, Vec<float> v, int count) {
  if (count >= kLanes<float>) return store_full(to, v);
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>(first_lanes(count)), v);
}
inline void store(double* to, Vec<double> v, int count) {
  if (count >= kLanes<double>) return store_full(to, v);
  _mm512_mask_storeu_pd(to, static_cast<__mmask8>(first_lanes(count)), v);
}
#else
template <class S>
inline Vec<Compute<S>> load(const S* from, int count) {
  if (count >= kLanes<Compute<S>>) return load_full(from);
  S padded[kLanes<Compute<S>>] = {};
  for (int i = 0; i < count; ++i) padded[i] = from[i];
  return load_full(padded);
}
#endif
template <class S>
inline void store(S* to, Vec<Compute<S>> v, int count) {
  if (count >= kLanes<Compute<S>>) return store_full(to, v);
  S padded[kLanes<Compute<S>>];
  store_full(padded, v);
  for (int i = 0; i < count; ++i) to[i] = padded[i];
}

// The larger and the smaller of x and a bound; NaN in x passes through. Single instructions, which
// GCC 12 doesn't make out of comparisons: they return their second operand where one is NaN.
inline Vec<float> at_least(Vec<float> x, float low) {
  return WEFT_VECTOR_OP(max_ps)(Vec<float>{} + low, x);
}
inline Vec<double> at_least(Vec<double> x, double low) {
  return WEFT_VECTOR_OP(max_pd)(Vec<double>{} + low, x);
}
inline Vec<float> at_most(Vec<float> x, float high) {
  return WEFT_VECTOR_OP(min_ps)(Vec<float>{} + high, x);
}
inline Vec<double> at_most(Vec<double> x, double high) {
  return WEFT_VECTOR_OP(min_pd)(Vec<double>{} + high, x);
}

template <int... I>
struct Indexes {};

template <class V, int... I>
inline V sum_neighbours(V a, V b, Indexes<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...) + __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// sums[i] = sum of the lanes of rows[i], for kLanes rows; the rows are overwritten. A tree of
// neighbours: the order of the sum is fixed.
template <class C>
inline Vec<C> sum_lanes(Vec<C>* rows) {
  constexpr int kWidth = kLanes<C>;
  for (int count = kWidth; count > 1; count /= 2) {
    for (int i = 0; i < count / 2; ++i) {
      rows[i] = sum_neighbours(rows[2 * i], rows[2 * i + 1], Indexes<__integer_pack(kWidth)...>{});
    }
  }
  return rows[0];
}

// f(i, lanes) for i = begin, begin + kLanes, .. up to `end`: the last vector may have fewer lanes.
template <class C, class F>
inline void for_each_vector(int64_t begin, int64_t end, const F& f) {
  int64_t i = begin;
  for (; i + kLanes<C> <= end; i += kLanes<C>) f(i, kLanes<C>);
  if (i < end) f(i, static_cast<int>(end - i));
}

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

template <class C>
inline double sum_of_lanes(Vec<C> v) {
  double sum = 0;
  for (int i = 0; i < kLanes<C>; ++i) sum += static_cast<double>(v[i]);
  return sum;
}

}  // namespace weft::cpu::WEFT_ISA
