#pragma once
// Blocks of matrices copied into other forms. Included as cpu/vector.h is.
#include "models/kernels/cpu/block_product.h"
#include "models/kernels/cpu/pack.h"
#include "models/kernels/cpu/transpose_words_kernel.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

template <class S>
inline void zero_numbers(int64_t count, S* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = S{};
}

// The numbers of each row from `first` on.
template <class S>
inline void zero_row_ends(int64_t rows, int64_t row_size, int64_t first, S* to) {
  for (int64_t r = 0; r < rows; ++r) zero_numbers(row_size - first, to + r * row_size + first);
}

template <class S>
void copy_rows(const RowBlock<S>& x, int64_t padded, S* to) {
  for (int64_t r = 0; r < x.count; ++r) {
    __builtin_memcpy(to + r * x.width, x.data + r * x.stride,
                     static_cast<unsigned long>(x.width) * sizeof(S));
  }
  zero_numbers((padded - x.count) * x.width, to + x.count * x.width);
}

// f(row, column) for all, some rows at a time: their lines stay in the first cache.
template <class F>
inline void by_columns(int64_t rows, int64_t columns, const F& f) {
  constexpr int64_t kRows = 16;
  for (int64_t first = 0; first < rows; first += kRows) {
    const int64_t end = first + kRows < rows ? first + kRows : rows;
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t r = first; r < end; ++r) f(r, c);
    }
  }
}

template <class S>
void transpose_rows(const RowBlock<S>& x, int64_t padded, S* to) {
  constexpr int64_t kWords = kTogether<S>;  // numbers in one
  if (x.stride % kWords != 0 || x.width % kWords != 0) {
    by_columns(x.count, x.width,
               [&](int64_t r, int64_t c) { to[c * padded + r] = x.data[r * x.stride + c]; });
  } else if constexpr (kWords == 1) {
    transpose_words(x.data, x.stride, x.count, x.width, to, padded);
  } else {
    const auto at = [&](long pair, long r) { return to + 2 * pair * padded + r; };
    turn_over(
        x.data, x.stride / 2, x.count, x.width / 2,
        [&](long pair, long r, Vec<float> v) {
          const VecBits<float> bits = reinterpret_cast<VecBits<float>>(v);
          const HalfBits first = __builtin_convertvector(bits & 0xFFFF, HalfBits);
          const HalfBits second = __builtin_convertvector(bits >> 16, HalfBits);
          __builtin_memcpy(at(pair, r), &first, sizeof first);
          __builtin_memcpy(at(pair, r) + padded, &second, sizeof second);
        },
        [&](long pair, long r, const char* word) {
          __builtin_memcpy(at(pair, r), word, 2);
          __builtin_memcpy(at(pair, r) + padded, word + 2, 2);
        });
  }
  zero_row_ends(x.width, padded, x.count, to);
}

template <class S>
void pack_columns(const RowBlock<S>& x, int64_t padded, S* to) {
  constexpr int64_t kWords = kTogether<S>;  // numbers in one
  if (x.stride % kWords == 0) {
    transpose_words(x.data, x.stride / kWords, x.count, x.width / kWords, to, padded);
  } else {
    by_columns(x.count, x.width / kWords, [&](int64_t r, int64_t c) {
      for (int64_t i = 0; i < kWords; ++i) {
        to[(c * padded + r) * kWords + i] = x.data[r * x.stride + c * kWords + i];
      }
    });
  }
  zero_row_ends(x.width / kWords, padded * kWords, x.count * kWords, to);
}

template <class S>
void pack_rows(const RowBlock<S>& x, int64_t padded, S* to) {
  if constexpr (kTogether<S> == 1) {
    copy_rows(x, padded, to);
  } else {
    for (int64_t r = 0; r + 2 <= x.count; r += 2) {
      const Bf16 *a = x.data + r * x.stride, *b = a + x.stride;
      Bf16* const pairs = to + r * x.width;
      int64_t c = 0;
      for (; c + kLanes<float> <= x.width; c += kLanes<float>) {
        const auto first = reinterpret_cast<VecBits<float>>(load_full(a + c));
        const auto second = reinterpret_cast<VecBits<float>>(load_full(b + c));
        const VecBits<float> both = (first >> 16) | second;
        __builtin_memcpy(pairs + 2 * c, &both, sizeof both);
      }
      for (; c < x.width; ++c) {
        pairs[2 * c] = a[c];
        pairs[2 * c + 1] = b[c];
      }
    }
    const int64_t even = x.count / 2 * 2;
    zero_numbers((padded - even) * x.width, to + even * x.width);
    if (even == x.count) return;
    const Bf16* const last = x.data + even * x.stride;
    for (int64_t c = 0; c < x.width; ++c) to[even * x.width + 2 * c] = last[c];
  }
}

template <class S>
void store_rows(const float* x, const RowOutput<S>& to) {
  constexpr int kStep = kLanes<float>;
  for (int64_t r = 0; r < to.count; ++r) {
    for (int64_t c = 0; c < to.width; c += kStep) {
      const int some = to.width - c < kStep ? static_cast<int>(to.width - c) : kStep;
      store(to.data + r * to.stride + c, load(x + r * to.width + c, some), some);
    }
  }
}

template <class S>
void store_transposed(const float* x, int64_t padded, const RowOutput<S>& to) {
  turn_over(
      x, padded, to.width, to.count,
      [&](long r, long c, Vec<float> v) { store_full(to.data + r * to.stride + c, v); },
      [&](long r, long c, const char* word) {
        Vec<float> v = {};
        __builtin_memcpy(&v, word, sizeof(float));
        store(to.data + r * to.stride + c, v, 1);
      });
}

}  // namespace weft::cpu::WEFT_ISA
