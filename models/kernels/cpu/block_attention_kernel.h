#pragma once
// The parts of block attention between the products. Queries are the lanes of every vector.
// Included as cpu/vector.h is.
#include "models/kernels/cpu/block_attention.h"
#include "models/kernels/cpu/block_product.h"
#include "models/kernels/cpu/transpose_words_kernel.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

template <class S>
inline void zero_tokens(int64_t count, S* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = S{};
}

template <class S>
void copy_tokens(const TokenBlock<S>& x, int64_t padded, S* to) {
  for (int64_t t = 0; t < x.count; ++t) {
    __builtin_memcpy(to + t * x.width, x.data + t * x.stride,
                     static_cast<unsigned long>(x.width) * sizeof(S));
  }
  zero_tokens((padded - x.count) * x.width, to + x.count * x.width);
}

// f(t, c) for all tokens and channels, some tokens at a time: their lines stay in the first cache.
template <class F>
inline void by_channels(int64_t tokens, int64_t width, const F& f) {
  constexpr int64_t kTokens = 16;
  for (int64_t first = 0; first < tokens; first += kTokens) {
    const int64_t end = first + kTokens < tokens ? first + kTokens : tokens;
    for (int64_t c = 0; c < width; ++c) {
      for (int64_t t = first; t < end; ++t) f(t, c);
    }
  }
}

template <class S>
inline void zero_columns(int64_t rows, int64_t row_size, int64_t first, S* to) {
  for (int64_t r = 0; r < rows; ++r) zero_tokens(row_size - first, to + r * row_size + first);
}

template <class S>
void transpose_tokens(const TokenBlock<S>& x, int64_t padded, S* to) {
  by_channels(x.count, x.width,
              [&](int64_t t, int64_t c) { to[c * padded + t] = x.data[t * x.stride + c]; });
  zero_columns(x.width, padded, x.count, to);
}

template <class S>
void pack_channels(const TokenBlock<S>& x, int64_t padded, S* to) {
  constexpr int64_t kWords = kTogether<S>;  // numbers in one
  if (x.stride % kWords == 0) {
    transpose_words(x.data, x.stride / kWords, x.count, x.width / kWords, to, padded);
  } else {
    by_channels(x.count, x.width / kWords, [&](int64_t t, int64_t c) {
      for (int64_t i = 0; i < kWords; ++i) {
        to[(c * padded + t) * kWords + i] = x.data[t * x.stride + c * kWords + i];
      }
    });
  }
  zero_columns(x.width / kWords, padded * kWords, x.count * kWords, to);
}

template <class S>
void pack_tokens(const TokenBlock<S>& x, int64_t padded, S* to) {
  if constexpr (kTogether<S> == 1) {
    copy_tokens(x, padded, to);
  } else {
    for (int64_t t = 0; t + 2 <= x.count; t += 2) {
      const Bf16 *a = x.data + t * x.stride, *b = a + x.stride;
      Bf16* const pairs = to + t * x.width;
      for (int64_t c = 0; c < x.width; ++c) {
        pairs[2 * c] = a[c];
        pairs[2 * c + 1] = b[c];
      }
    }
    const int64_t even = x.count / 2 * 2;
    zero_tokens((padded - even) * x.width, to + even * x.width);
    if (even == x.count) return;
    const Bf16* const last = x.data + even * x.stride;
    for (int64_t c = 0; c < x.width; ++c) to[even * x.width + 2 * c] = last[c];
  }
}

inline float sum_of(Vec<float> v) {
  float sum = 0;
  for (int i = 0; i < kLanes<float>; ++i) sum += v[i];
  return sum;
}

template <class S>
void dot_tokens(const TokenBlock<S>& a, const TokenBlock<S>& b, float* to) {
  constexpr int kStep = kLanes<float>;
  for (int64_t t = 0; t < a.count; ++t) {
    Vec<float> sum = {};
    for (int64_t c = 0; c < a.width; c += kStep) {
      const int count = a.width - c < kStep ? static_cast<int>(a.width - c) : kStep;
      sum += load(a.data + t * a.stride + c, count) * load(b.data + t * b.stride + c, count);
    }
    to[t] = sum_of(sum);
  }
}

constexpr float kMaskedScore = -1e30F;  // its exponential is 0, and its difference to itself too

inline Vec<float> lane_numbers() {
  Vec<float> numbers;
  for (int i = 0; i < kLanes<float>; ++i) numbers[i] = static_cast<float>(i);
  return numbers;
}

// Which queries see which keys: for key `row` of a tile, the lanes from `query` on.
struct Mask {
  const AttentionTile& tile;
  bool all;  // every query sees every key

  explicit Mask(const AttentionTile& t) : tile(t) {
    const bool behind = t.first_key + t.keys - 1 <= t.first_query;
    const bool near = t.window == 0 || t.first_query + t.queries - 1 - t.first_key < t.window;
    all = behind && near;
  }
  Vec<float> operator()(Vec<float> x, float otherwise, int64_t row, int64_t query) const {
    if (all) return x;
    // Positions from the key on, exact in fp32: a tile is far smaller than 2^24, and a distance
    // beyond it is beyond any key's tile.
    const Vec<float> distance =
        lane_numbers() + static_cast<float>(tile.first_query + query - tile.first_key - row);
    const Vec<float> none = Vec<float>{} + otherwise;
    x = distance >= 0.0F ? x : none;
    return tile.window == 0 || distance < static_cast<float>(tile.window) ? x : none;
  }
};

// Two rows of a packed matrix, or one.
inline void store_together(Bf16* to, Vec<float> a, Vec<float> b) {
  const auto rounded = [](Vec<float> v) {
    const VecBits<float> bits = reinterpret_cast<VecBits<float>>(v);
    const VecBits<float> up = bits + 0x7FFF + ((bits >> 16) & 1);
    return v == v ? up : VecBits<float>{} + 0x7FC00000U;
  };
  const VecBits<float> pairs = (rounded(a) >> 16) | (rounded(b) & 0xFFFF0000U);
  __builtin_memcpy(to, &pairs, sizeof pairs);
}

constexpr float kLog2Of = 1.44269504088896340736F;  // log2(e)

template <class S>
void softmax_tile(const AttentionTile& tile, float* scores, const SoftmaxState& state,
                  int64_t width, S* weights) {
  const Mask mask(tile);
  const float factor = tile.scale * kLog2Of;
  const int64_t queries = tile.queries;
  for (int64_t q = 0; q < queries; q += kLanes<float>) {
    const Vec<float> before = load_full(state.largest + q);
    Vec<float> largest = before;
    for (int64_t s = 0; s < tile.keys; ++s) {
      Vec<float> v = load_full(scores + s * queries + q);
      if (!mask.all) {
        v = mask(v, kMaskedScore, s, q);
        store_full(scores + s * queries + q, v);
      }
      largest = v > largest ? v : largest;
    }
    Vec<float> sum = {};
    const auto weight = [&](int64_t s) {
      const Vec<float> e =
          exp2_nonpositive<float>((load_full(scores + s * queries + q) - largest) * factor);
      sum += e;
      return e;
    };
    for (int64_t s = 0; s < tile.keys; s += kTogether<S>) {
      if constexpr (kTogether<S> == 2) {
        const Vec<float> a = weight(s), b = weight(s + 1);
        store_together(weights + s * queries + 2 * q, a, b);
      } else {
        store_full(weights + s * queries + q, weight(s));
      }
    }
    const Vec<float> kept = exp2_nonpositive<float>((before - largest) * factor);
    store_full(state.largest + q, largest);
    store_full(state.sum + q, load_full(state.sum + q) * kept + sum);
    for (int64_t c = 0; c < width; ++c) {
      store_full(state.y + c * queries + q, load_full(state.y + c * queries + q) * kept);
    }
  }
}

template <class S>
void store_transposed(const float* x, int64_t padded, int64_t count, int64_t width, S* to,
                      int64_t stride) {
  constexpr int kStep = kLanes<float>;
  for (int64_t t = 0; t < count; t += kStep) {
    const int64_t some = count - t < kStep ? count - t : kStep;
    for (int64_t c = 0; c < width; ++c) {
      S lanes[kStep];
      store_full(lanes, load_full(x + c * padded + t));
      for (int64_t i = 0; i < some; ++i) to[(t + i) * stride + c] = lanes[i];
    }
  }
}

template <class S>
void finish_softmax(const SoftmaxState& state, int64_t queries, float scale, int64_t count,
                    int64_t width, S* to, int64_t stride, float* log_sums) {
  for (int64_t q = 0; q < queries; q += kLanes<float>) {
    const Vec<float> part = 1.0F / load_full(state.sum + q);
    for (int64_t c = 0; c < width; ++c) {
      store_full(state.y + c * queries + q, load_full(state.y + c * queries + q) * part);
    }
  }
  store_transposed(state.y, queries, count, width, to, stride);
  for (int64_t q = 0; q < count; ++q) {
    log_sums[q] = state.largest[q] * scale * kLog2Of + __builtin_log2f(state.sum[q]);
  }
}

template <class S>
void softmax_tile_backward(const AttentionTile& tile, const float* scores, const float* dweights,
                           const float* log_sums, const float* dots, S* weights, S* dscores,
                           S* packed_dscores) {
  const Mask mask(tile);
  const float factor = tile.scale * kLog2Of;
  const int64_t queries = tile.queries;
  for (int64_t q = 0; q < queries; q += kLanes<float>) {
    const Vec<float> log_sum = load_full(log_sums + q), dot = load_full(dots + q);
    const auto one_row = [&](int64_t s) {
      const int64_t at = s * queries + q;
      const Vec<float> w =
          mask(exp2_nonpositive<float>(load_full(scores + at) * factor - log_sum), 0.0F, s, q);
      const Vec<float> d = w * (load_full(dweights + at) - dot) * tile.scale;
      store_full(weights + at, w);
      store_full(dscores + at, d);
      return d;
    };
    for (int64_t s = 0; s < tile.keys; s += kTogether<S>) {
      const Vec<float> a = one_row(s);
      if constexpr (kTogether<S> == 2) {
        store_together(packed_dscores + s * queries + 2 * q, a, one_row(s + 1));
      }
    }
  }
}

template <class S>
void store_tokens(const float* x, int64_t count, int64_t width, S* to, int64_t stride) {
  constexpr int kStep = kLanes<float>;
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t c = 0; c < width; c += kStep) {
      const int some = width - c < kStep ? static_cast<int>(width - c) : kStep;
      store(to + t * stride + c, load(x + t * width + c, some), some);
    }
  }
}

}  // namespace weft::cpu::WEFT_ISA
