#pragma once
// Exponentials of vectors, to about 1 ulp, without tables. Included as cpu/vector.h is.
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// Constants of exp: 2^f on [-1/2, 1/2] as a polynomial that is exact at 0, interpolated at
// Chebyshev nodes (relative error 5e-9 and 1e-19); 1.5 * 2^m + bias, whose sum with x has round(x)
// + bias in its low bits; the ends of the range in which 2^round(x) is a normal number; ln 2 in two
// parts, of which the first has zeros behind, so that its product with an exponent is exact.
template <class C>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr int kDegree = 6;
  static constexpr float kPolynomial[] = {1.0F,           0.693147188F,    0.2402265076F,
                                          0.05550357114F, 9.618082557e-3F, 1.339086336e-3F,
                                          1.545316295e-4F};
  static constexpr float kMagic = 12582912.0F + 127.0F;
  static constexpr int kMantissaBits = 23;
  static constexpr float kLowest = -126.0F, kHighest = 127.0F;
  static constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;
};
template <>
struct ExpConstants<double> {
  static constexpr int kDegree = 12;
  static constexpr double kPolynomial[] = {1.0,
                                           0.69314718055994531,
                                           0.24022650695910071,
                                           0.055504108664821627,
                                           0.0096181291076284795,
                                           0.0013333558146406471,
                                           0.00015403530393370733,
                                           1.5252733841556773e-5,
                                           1.3215486808705563e-6,
                                           1.0178057087733941e-7,
                                           7.0548973041554993e-9,
                                           4.4558179083360645e-10,
                                           2.5729324177362304e-11};
  static constexpr double kMagic = 6755399441055744.0 + 1023.0;
  static constexpr int kMantissaBits = 52;
  static constexpr double kLowest = -1022.0, kHighest = 1023.0;
  static constexpr double kLn2High = 6.93147180369123816490e-01,
                          kLn2Low = 1.90821492927058770002e-10;
};

constexpr double kLog2E = 1.44269504088896340736;
constexpr double kLn2 = 0.69314718055994530942;

template <class C>
inline Vec<C> exp2_polynomial(Vec<C> f) {
  using K = ExpConstants<C>;
  Vec<C> p = Vec<C>{} + K::kPolynomial[K::kDegree];
#pragma GCC unroll 16
  for (int i = K::kDegree - 1; i >= 0; --i) p = p * f + K::kPolynomial[i];
  return p;
}

// 2^n * 2^f, where `shifted` = n + kMagic and f is in [-1/2, 1/2].
template <class C>
inline Vec<C> exp2_of_parts(Vec<C> shifted, Vec<C> f) {
  const auto power = reinterpret_cast<VecBits<C>>(shifted) << ExpConstants<C>::kMantissaBits;
  return exp2_polynomial<C>(f) * reinterpret_cast<Vec<C>>(power);
}

// 2^x for x <= 0; may end at the smallest normal number.
template <class C>
inline Vec<C> exp2_nonpositive(Vec<C> x) {
#if defined(__AVX512F__)
  constexpr int kToNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  if constexpr (sizeof(C) == 4) {
    const Vec<C> n = _mm512_roundscale_ps(x, kToNearest);
    return _mm512_scalef_ps(exp2_polynomial<C>(x - n), n);
  } else {
    const Vec<C> n = _mm512_roundscale_pd(x, kToNearest);
    return _mm512_scalef_pd(exp2_polynomial<C>(x - n), n);
  }
#else
  using K = ExpConstants<C>;
  const Vec<C> bounded = at_least(x, K::kLowest);
  const Vec<C> shifted = bounded + K::kMagic;
  return exp2_of_parts<C>(shifted, bounded - (shifted - K::kMagic));
#endif
}

// exp(x), clamped to normal numbers.
template <class C>
inline Vec<C> exp(Vec<C> x) {
  using K = ExpConstants<C>;
  constexpr C kLn2Of = static_cast<C>(kLn2);
  const Vec<C> clamped =
      at_most(at_least(x, K::kLowest * kLn2Of), (K::kHighest + C(0.499)) * kLn2Of);
  const Vec<C> shifted = clamped * static_cast<C>(kLog2E) + K::kMagic;
  const Vec<C> n = shifted - K::kMagic;
  const Vec<C> rest = (clamped - n * K::kLn2High) - n * K::kLn2Low;
  return exp2_of_parts<C>(shifted, rest * static_cast<C>(kLog2E));
}

template <class C>
inline Vec<C> sigmoid(Vec<C> x) {
  return C(1) / (C(1) + exp<C>(-x));
}

// softplus(x) and its derivative, the sigmoid; x itself above 20.
template <class C>
struct Softplus {
  Vec<C> value, slope;
};
template <class C>
inline Softplus<C> softplus(Vec<C> x) {
  const Vec<C> e = exp<C>(x < C(0) ? x : -x);  // exp(-|x|)
  // log1p(e) = 2 artanh(e / (2 + e)), whose argument is at most 1/3.
  constexpr int kTerms = sizeof(C) == 4 ? 7 : 16;
  const Vec<C> s = e / (C(2) + e);
  const Vec<C> square = s * s;
  Vec<C> series = Vec<C>{} + C(1) / C(2 * kTerms + 1);
#pragma GCC unroll 16
  for (int k = kTerms - 1; k >= 0; --k) series = series * square + C(1) / C(2 * k + 1);
  const Vec<C> zero = {};
  const Vec<C> value = (x < C(0) ? zero : x) + C(2) * s * series;
  const Vec<C> slope = (x < C(0) ? e : zero + C(1)) / (C(1) + e);
  return {x > C(20) ? x : value, slope};
}

}  // namespace weft::cpu::WEFT_ISA
