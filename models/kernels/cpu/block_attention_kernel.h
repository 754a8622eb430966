#pragma once
// The parts of block attention between the products. Queries are the lanes of every vector.
// Included as cpu/vector.h is.
#include "models/kernels/cpu/block_attention.h"
#include "models/kernels/cpu/pack_kernel.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

inline float sum_of(Vec<float> v) {
  float sum = 0;
  for (int i = 0; i < kLanes<float>; ++i) sum += v[i];
  return sum;
}

template <class S>
void dot_rows(const RowBlock<S>& a, const RowBlock<S>& b, float* to) {
  constexpr int kStep = kLanes<float>;
  for (int64_t r = 0; r < a.count; ++r) {
    Vec<float> sum = {};
    for (int64_t c = 0; c < a.width; c += kStep) {
      const int count = a.width - c < kStep ? static_cast<int>(a.width - c) : kStep;
      sum += load(a.data + r * a.stride + c, count) * load(b.data + r * b.stride + c, count);
    }
    to[r] = sum_of(sum);
  }
}

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
    // Exact where a sign can change.
    const int64_t distance = tile.first_query + query - tile.first_key - row;
    const Vec<float> none = Vec<float>{} + otherwise;
    x = lane_numbers() + static_cast<float>(distance) >= 0.0F ? x : none;
    if (tile.window == 0) return x;
    return lane_numbers() + static_cast<float>(distance - tile.window) < 0.0F ? x : none;
  }
};

// 2^x for x <= 0, also where x is -inf.
inline Vec<float> weight_of(Vec<float> x) { return exp2_nonpositive<float>(at_least(x, -1000.0F)); }

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

constexpr float kLog2Of = static_cast<float>(kLog2E);

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
        v = mask(v, kNoScore, s, q);
        store_full(scores + s * queries + q, v);
      }
      largest = v > largest ? v : largest;
    }
    Vec<float> sum = {};
    const auto weight = [&](int64_t s) {
      const Vec<float> score = load_full(scores + s * queries + q);
      // Masked: where there is no score at all, none is the largest too.
      const Vec<float> e = mask(weight_of((score - largest) * factor), 0.0F, s, q);
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
    const Vec<float> kept = weight_of((before - largest) * factor);
    store_full(state.largest + q, largest);
    store_full(state.sum + q, load_full(state.sum + q) * kept + sum);
    for (int64_t c = 0; c < width; ++c) {
      store_full(state.y + c * queries + q, load_full(state.y + c * queries + q) * kept);
    }
  }
}

template <class S>
void finish_softmax(const SoftmaxState& state, int64_t queries, float scale, const RowOutput<S>& to,
                    float* log_sums) {
  for (int64_t q = 0; q < queries; q += kLanes<float>) {
    const Vec<float> part = 1.0F / load_full(state.sum + q);
    for (int64_t c = 0; c < to.width; ++c) {
      store_full(state.y + c * queries + q, load_full(state.y + c * queries + q) * part);
    }
  }
  store_transposed(state.y, queries, to);
  for (int64_t q = 0; q < to.count; ++q) {
    log_sums[q] = state.largest[q] * scale * kLog2Of + __builtin_log2f(state.sum[q]);
  }
}

template <class S>
void softmax_tile_backward(const AttentionTile& tile, const SoftmaxGradient<S>& g) {
  const Mask mask(tile);
  const float factor = tile.scale * kLog2Of;
  const int64_t queries = tile.queries;
  for (int64_t q = 0; q < queries; q += kLanes<float>) {
    const Vec<float> log_sum = load_full(g.log_sums + q), dot = load_full(g.dots + q);
    const auto one_row = [&](int64_t s) {
      const int64_t at = s * queries + q;
      const Vec<float> w = mask(weight_of(load_full(g.scores + at) * factor - log_sum), 0.0F, s, q);
      const Vec<float> d = mask(w * (load_full(g.dweights + at) - dot) * tile.scale, 0.0F, s, q);
      store_full(g.weights + at, w);
      store_full(g.dscores + at, d);
      return d;
    };
    for (int64_t s = 0; s < tile.keys; s += kTogether<S>) {
      const Vec<float> a = one_row(s);
      if constexpr (kTogether<S> == 2) {
        store_together(g.packed_dscores + s * queries + 2 * q, a, one_row(s + 1));
      }
    }
  }
}

}  // namespace weft::cpu::WEFT_ISA
