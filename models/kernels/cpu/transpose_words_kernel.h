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

void transpose_words(const void* from_words, long stride, long rows, long columns, void* to_words,
                     long to_stride) {
  constexpr int kWidth = kLanes<float>;
  const auto* const from = static_cast<const char*>(from_words);
  auto* const to = static_cast<char*>(to_words);
  const auto one = [&](long r, long c) {
    __builtin_memcpy(to + 4 * (c * to_stride + r), from + 4 * (r * stride + c), 4);
  };
  long r = 0;
  for (; r + kWidth <= rows; r += kWidth) {
    long c = 0;
    for (; c + kWidth <= columns; c += kWidth) {
      Vec<float> square[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        __builtin_memcpy(&square[i], from + 4 * ((r + i) * stride + c), sizeof square[i]);
      }
      transpose_square<kWidth>(square);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        __builtin_memcpy(to + 4 * ((c + i) * to_stride + r), &square[i], sizeof square[i]);
      }
    }
    for (; c < columns; ++c) {
      for (int i = 0; i < kWidth; ++i) one(r + i, c);
    }
  }
  for (; r < rows; ++r) {
    for (long c = 0; c < columns; ++c) one(r, c);
  }
}

}  // namespace weft::cpu::WEFT_ISA
