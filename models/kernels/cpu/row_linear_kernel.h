#pragma once
// Linear layers of a few rows, for a range of outputs. Every output is summed in the same order,
// whichever block it is computed in: Sum's vectors along the row, then their lanes as a tree.
// Bounded by reading the weights: one row of x takes as long as a mere read of them (2 cores with
// AVX-512, bench/row_linear_bench.cpp). The processor's own prefetching is left alone: asked for
// them ahead, by any distance and into any cache, it reads a tenth to a third slower. Included as
// cpu/vector.h is.
#include <type_traits>

#include "models/kernels/cpu/row_linear.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// Numbers of a row that are read at once.
template <class C>
constexpr int kPairLanes = 2 * kLanes<C>;

// Those numbers in the type of the sums. Which is in which vector depends on the storage type, and
// is the same for x and weights.
template <class C>
struct Pair {
  Vec<C> a, b;
};

template <class C>
inline Pair<C> load_pair(const C* from) {
  return {load_full(from), load_full(from + kLanes<C>)};
}
// Neighbours go apart, which needs no shuffle.
inline Pair<float> load_pair(const Bf16* from) {
  VecBits<float> bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return {reinterpret_cast<Vec<float>>(bits << 16),
          reinterpret_cast<Vec<float>>(bits & 0xFFFF0000u)};
}

// The first `count` numbers, and zeros.
#if defined(__AVX512F__)
// Without branches, lest products and sums be contracted here and not there.
inline Pair<float> load_pair(const float* from, int count) {
  const unsigned lanes = first_lanes(count);
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), from),
          _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes >> 16), from + 16)};
}
inline Pair<double> load_pair(const double* from, int count) {
  const unsigned lanes = first_lanes(count);
  return {_mm512_maskz_loadu_pd(static_cast<__mmask8>(lanes), from),
          _mm512_maskz_loadu_pd(static_cast<__mmask8>(lanes >> 8), from + 8)};
}
inline Pair<float> load_pair(const Bf16* from, int count) {
  const __m512i bits = _mm512_maskz_loadu_epi16(first_lanes(count), from);
  return {reinterpret_cast<Vec<float>>(_mm512_slli_epi32(bits, 16)),
          reinterpret_cast<Vec<float>>(_mm512_and_si512(bits, _mm512_set1_epi32(-65536)))};
}
#else
template <class S>
inline Pair<Compute<S>> load_pair(const S* from, int count) {
  S padded[kPairLanes<Compute<S>>] = {};
  for (int i = 0; i < count; ++i) padded[i] = from[i];
  return load_pair(padded);
}
#endif

// The sum of an output, of products of what load() reads.
template <class S>
struct Sum {
  using C = Compute<S>;
  using Loaded = Pair<C>;
  Pair<C> of = {};

  static Loaded load(const S* from) { return load_pair(from); }
  static Loaded load(const S* from, int count) { return load_pair(from, count); }
  void add(const Loaded& v, const Loaded& w) {
    of.a += v.a * w.a;
    of.b += v.b * w.b;
  }
  Vec<C> lanes() const { return of.a + of.b; }
};

#if defined(__AVX512BF16__)
// The processor's own products of bf16, two to a lane, which take denormals for zeros.
template <>
struct Sum<Bf16> {
  using Loaded = __m512bh;
  __m512 of = {};

  static Loaded load(const Bf16* from) {
    return reinterpret_cast<Loaded>(_mm512_loadu_si512(from));
  }
  static Loaded load(const Bf16* from, int count) {
    return reinterpret_cast<Loaded>(_mm512_maskz_loadu_epi16(first_lanes(count), from));
  }
  void add(const Loaded& v, const Loaded& w) { of = _mm512_dpbf16_ps(of, v, w); }
  Vec<float> lanes() const { return of; }
};
#endif

// The sum of an output that is made alone, with the same bits.
template <class S>
struct LoneSum : Sum<S> {};

#if defined(__AVX512F__)
template <int kHalf>
inline __m256 half_of(Vec<float> v) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), kHalf));
}
inline Vec<float> join_halves(__m256 low, __m256 high) {
  const __m512d both = _mm512_castpd256_pd512(_mm256_castps_pd(low));
  return _mm512_castpd_ps(_mm512_insertf64x4(both, _mm256_castps_pd(high), 1));
}

// Whole lines at a time come up to a fifth slower from memory where it is fast, quarters no faster.
template <>
struct LoneSum<float> {
  struct Loaded {
    __m256 halves[4];
  };
  __m256 of[4] = {};

  static Loaded load(const float* from) {
    Loaded loaded;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) loaded.halves[i] = _mm256_loadu_ps(from + 8 * i);
    return loaded;
  }
  static Loaded load(const float* from, int count) {
    const Pair<float> pair = load_pair(from, count);
    return {half_of<0>(pair.a), half_of<1>(pair.a), half_of<0>(pair.b), half_of<1>(pair.b)};
  }
  void add(const Loaded& v, const Loaded& w) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) of[i] += v.halves[i] * w.halves[i];
  }
  Vec<float> lanes() const { return join_halves(of[0], of[1]) + join_halves(of[2], of[3]); }
};
#endif

#if defined(__AVX512BF16__)
template <>
struct LoneSum<Bf16> {
  struct Loaded {
    __m256bh halves[2];
  };
  __m256 of[2] = {};

  static Loaded load(const Bf16* from) { return {load_half(from), load_half(from + 16)}; }
  static Loaded load(const Bf16* from, int count) {
    const __m512i bits = _mm512_maskz_loadu_epi16(first_lanes(count), from);
    return {reinterpret_cast<__m256bh>(_mm512_castsi512_si256(bits)),
            reinterpret_cast<__m256bh>(_mm512_extracti64x4_epi64(bits, 1))};
  }
  void add(const Loaded& v, const Loaded& w) {
    of[0] = _mm256_dpbf16_ps(of[0], v.halves[0], w.halves[0]);
    of[1] = _mm256_dpbf16_ps(of[1], v.halves[1], w.halves[1]);
  }
  Vec<float> lanes() const { return join_halves(of[0], of[1]); }

 private:
  static __m256bh load_half(const Bf16* from) {
    return reinterpret_cast<__m256bh>(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
};
#endif

// sum[k * kRows + r] += x row k * weight row r. load(p) is what is at p.
template <int kX, int kRows, class S, class Load, class SumOf>
inline void add_products(const S* x, int64_t x_stride, const S* weight, int64_t weight_stride,
                         const Load& load, SumOf (&sum)[kX * kRows]) {
  typename SumOf::Loaded w[kRows];
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r) w[r] = load(weight + r * weight_stride);
#pragma GCC unroll 4
  for (int k = 0; k < kX; ++k) {
    const auto v = load(x + k * x_stride);
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) sum[k * kRows + r].add(v, w[r]);
  }
}

// Lane i is the sum of the lanes of rows[i], i < kCount <= kLanes; the rows are overwritten. The
// order is that of sum_lanes.
template <int kCount, class C>
inline Vec<C> sum_few_lanes(Vec<C>* rows) {
  int count = kCount;
#pragma GCC unroll 4
  for (int lanes = kLanes<C>; lanes > 1; lanes /= 2) {
#pragma GCC unroll 4
    for (int i = 0; i < count; i += 2) {
      rows[i / 2] = sum_neighbours(rows[i], rows[i + 1 < count ? i + 1 : i],
                                   Indexes<__integer_pack(kLanes<C>)...>{});
    }
    count = (count + 1) / 2;
  }
  return rows[0];
}

// Rounds and stores the outputs that the sums are of.
template <int kX, int kRows, class S, class SumOf, class C = Compute<S>>
inline void store_sums(const SumOf (&sum)[kX * kRows], int64_t row, const LinearRows<S>& layer,
                       int64_t first) {
  constexpr int kCount = kX * kRows, kAtOnce = kCount < kLanes<C> ? kCount : kLanes<C>;
#pragma GCC unroll 2
  for (int begin = 0; begin < kCount; begin += kAtOnce) {
    Vec<C> rows[kAtOnce];
#pragma GCC unroll 8
    for (int i = 0; i < kAtOnce; ++i) {
      const int from = begin + i < kCount ? begin + i : begin;
      rows[i] = sum[from].lanes();
    }
    Vec<C> y = sum_few_lanes<kAtOnce, C>(rows);
    if (layer.bias != nullptr) {
      C bias[kLanes<C>] = {};
      for (int i = 0; i < kAtOnce; ++i) bias[i] = widen(layer.bias[first + (begin + i) % kRows]);
      y += load_full(bias);
    }
    S rounded[kLanes<C>];
    store_full(rounded, y);
    for (int i = 0; i < kAtOnce && begin + i < kCount; ++i) {
      const int k = (begin + i) / kRows, r = (begin + i) % kRows;
      layer.y[(row + k) * layer.out + first + r] = rounded[i];
    }
  }
}

// Outputs first .. first + kRows - 1 for rows row .. row + kX - 1 of x.
template <int kX, int kRows, class S>
inline void row_linear_block(const LinearInput<S>& x, int64_t row, const LinearRows<S>& layer,
                             int64_t first) {
  constexpr int kStep = kPairLanes<Compute<S>>;
  const int64_t x_stride = x.stride, weight_stride = layer.weight_stride;
  const S* from = x.data + row * x_stride;
  const S* weight = layer.weight + first * weight_stride;
  using SumOf = std::conditional_t<kX * kRows == 1, LoneSum<S>, Sum<S>>;
  SumOf sum[kX * kRows];
  int64_t left = x.in;
  for (; left >= kStep; left -= kStep, from += kStep, weight += kStep) {
    add_products<kX, kRows>(
        from, x_stride, weight, weight_stride, [](const S* p) { return SumOf::load(p); }, sum);
  }
  if (left > 0) {
    add_products<kX, kRows>(
        from, x_stride, weight, weight_stride,
        [count = static_cast<int>(left)](const S* p) { return SumOf::load(p, count); }, sum);
  }
  store_sums<kX, kRows, S>(sum, row, layer, first);
}

// Outputs first .. first + kRows - 1 for all rows of x: behind the first four rows the weights come
// from the cache.
template <int kRows, class S>
inline void row_linear_rows(const LinearInput<S>& x, const LinearRows<S>& layer, int64_t first) {
  int64_t row = 0;
  for (; row + 4 <= x.rows; row += 4) row_linear_block<4, kRows>(x, row, layer, first);
  if (x.rows - row == 3) row_linear_block<3, kRows>(x, row, layer, first);
  if (x.rows - row == 2) row_linear_block<2, kRows>(x, row, layer, first);
  if (x.rows - row == 1) row_linear_block<1, kRows>(x, row, layer, first);
}

// Rows of no more bytes are short: summing the lanes of each would take longer than reading it from
// the cache.
constexpr int64_t kShortBytes = 2048;

// Outputs first .. first + kLanes - 1 for the only row of x, a short one: all lanes are summed at
// once. x is read anew for each: kept in fp32, it would fill twice as much of the first cache, and
// weights come a seventh slower from memory then.
template <class S, class C = Compute<S>>
inline void row_linear_lanes(const LinearInput<S>& x, const LinearRows<S>& layer, int64_t first) {
  constexpr int kStep = kPairLanes<C>;
  const int full = static_cast<int>(x.in) / kStep, left = static_cast<int>(x.in) % kStep;
  Vec<C> sums[kLanes<C>];
  for (int r = 0; r < kLanes<C>; ++r) {
    const S* weight = layer.weight + (first + r) * layer.weight_stride;
    LoneSum<S> sum;
    for (int i = 0; i < full; ++i)
      sum.add(LoneSum<S>::load(x.data + i * kStep), LoneSum<S>::load(weight + i * kStep));
    if (left > 0)
      sum.add(LoneSum<S>::load(x.data + full * kStep, left),
              LoneSum<S>::load(weight + full * kStep, left));
    sums[r] = sum.lanes();
  }
  Vec<C> y = sum_lanes<C>(sums);
  if (layer.bias != nullptr) y += load_full(layer.bias + first);
  store_full(layer.y + first, y);
}

template <class S>
void row_linear_part(const LinearInput<S>& x, const LinearRows<S>& layer, int64_t first,
                     int64_t end) {
  // Memory is read fastest in one stream, of a row after the other. But while weights rush through
  // the first cache little more than this of x stays there: then each read of x serves two rows,
  // where there are registers enough.
  constexpr int64_t kKeptBytes = 8192;
  const int64_t x_bytes = x.rows * x.in * static_cast<int64_t>(sizeof(S));
  if (kVectorBytes == 64 && x.rows > 1 && x_bytes > kKeptBytes) {
    for (; first + 2 <= end; first += 2) row_linear_rows<2>(x, layer, first);
  }
  if (x.rows == 1 && x_bytes <= kShortBytes) {
    constexpr int kLanesAtOnce = kLanes<Compute<S>>;
    for (; first + kLanesAtOnce <= end; first += kLanesAtOnce) row_linear_lanes(x, layer, first);
  }
  for (; first < end; ++first) row_linear_rows<1>(x, layer, first);
}

}  // namespace weft::cpu::WEFT_ISA
