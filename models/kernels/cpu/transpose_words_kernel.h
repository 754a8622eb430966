#pragma once
// Squares of words are turned over in registers. Included as cpu/vector.h is.
#include "models/kernels/cpu/transpose_words.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// Lanes of a and b in turns: of the first halves, or (kSecond) of the second ones.
// With the lanes of row i and row i + kLanes / 2 so mixed, log2(kLanes) times, a square is turned
// over.
template <bool kSecond, int... I>
inline Vec<float> interleave(Vec<float> a, Vec<float> b, Indexes<I...>) {
  constexpr int kWidth = sizeof...(I), kFrom = kSecond ? kWidth / 2 : 0;
  return __builtin_shufflevector(a, b, ((I % 2 == 0 ? 0 : kWidth) + kFrom + I / 2)...);
}

template <int kWidth>
inline void transpose_square(Vec<float>* rows) {
  using All = Indexes<__integer_pack(kWidth)...>;
#pragma GCC unroll 4
  for (int stage = 1; stage < kWidth; stage *= 2) {
    Vec<float> mixed[kWidth];
#pragma GCC unroll 8
    for (int i = 0; i < kWidth / 2; ++i) {
      mixed[2 * i] = interleave<false>(rows[i], rows[i + kWidth / 2], All{});
      mixed[2 * i + 1] = interleave<true>(rows[i], rows[i + kWidth / 2], All{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) rows[i] = mixed[i];
  }
}

// Columns of words [rows, columns] in pieces of vectors: vector(c, r, words r .. r + kLanes - 1 of
// column c), and where rows or columns are left over, one(c, r, where the word is).
template <class V, class O>
inline void turn_over(const void* words, long stride, long rows, long columns, const V& vector,
                      const O& one) {
  constexpr int kWidth = kLanes<float>;
  const auto* const from = static_cast<const char*>(words);
  const auto at = [&](long r, long c) { return from + 4 * (r * stride + c); };
  long r = 0;
  for (; r + kWidth <= rows; r += kWidth) {
    long c = 0;
    for (; c + kWidth <= columns; c += kWidth) {
      Vec<float> square[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) __builtin_memcpy(&square[i], at(r + i, c), sizeof square[i]);
      transpose_square<kWidth>(square);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) vector(c + i, r, square[i]);
    }
    for (; c < columns; ++c) {
      for (int i = 0; i < kWidth; ++i) one(c, r + i, at(r + i, c));
    }
  }
  for (; r < rows; ++r) {
    for (long c = 0; c < columns; ++c) one(c, r, at(r, c));
  }
}

void transpose_words(const void* from, long stride, long rows, long columns, void* to,
                     long to_stride) {
  const auto at = [&](long c, long r) { return static_cast<char*>(to) + 4 * (c * to_stride + r); };
  turn_over(
      from, stride, rows, columns,
      [&](long c, long r, Vec<float> v) { __builtin_memcpy(at(c, r), &v, sizeof v); },
      [&](long c, long r, const char* word) { __builtin_memcpy(at(c, r), word, 4); });
}

}  // namespace weft::cpu::WEFT_ISA
