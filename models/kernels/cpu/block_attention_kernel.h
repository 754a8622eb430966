#pragma once
// The parts of block attention between the products. Queries are the lanes of every vector.
// Included as cpu/vector.h is.
#include "models/kernels/cpu/block_attention.h"
#include "models/kernels/cpu/pack_kernel.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

template <class S>
void dot_rows(const RowBlock<S>& a, const RowBlock<S>& b, float* to) {
  constexpr int kStep = kLanes<float>;
  for (int64_t first = 0; first < a.count; first += kStep) {
    const int rows = a.count - first < kStep ? static_cast<int>(a.count - first) : kStep;
    Vec<float> sums[kStep] = {};
    for (int r = 0; r < rows; ++r) {
      const S* const x = a.data + (first + r) * a.stride;
      const S* const y = b.data + (first + r) * b.stride;
      for_each_vector<float>(0, a.width, [&](int64_t c, int lanes) {
        sums[r] += load(x + c, lanes) * load(y + c, lanes);
      });
    }
    store(to + first, sum_lanes<float>(sums), rows);
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

// Two vectors as bf16, stored one by one or, as rows of a packed matrix lie, in turns.
#if defined(__AVX512BF16__)
struct Bf16Vectors {
  __m512i halves;  // a, then b

  Bf16Vectors(Vec<float> a, Vec<float> b)
      : halves(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a))) {}
  void store_apart(Bf16* a, Bf16* b) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(a), _mm512_castsi512_si256(halves));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(b), _mm512_extracti64x4_epi64(halves, 1));
  }
  void store_together(Bf16* to) const {
    // Lane i of b behind lane i of a.
    const VecBits<float> lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const VecBits<float> pairs = lanes | (lanes + 16) << 16;
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(pairs), halves));
  }
};
#else
struct Bf16Vectors {
  VecBits<float> a, b;  // in the upper halves

  Bf16Vectors(Vec<float> x, Vec<float> y)
      : a(reinterpret_cast<VecBits<float> >(rounded_to_bf16(x))),
        b(reinterpret_cast<VecBits<float> >(rounded_to_bf16(y))) {}
  void store_apart(Bf16* to_a, Bf16* to_b) const {
    const HalfBits half_a = __builtin_convertvector(a >> 16, HalfBits);
    const HalfBits half_b = __builtin_convertvector(b >> 16, HalfBits);
    __builtin_memcpy(to_a, &half_a, sizeof half_a);
    __builtin_memcpy(to_b, &half_b, sizeof half_b);
  }
  void store_together(Bf16* to) const {
    const VecBits<float> pairs = (a >> 16) | b;
    __builtin_memcpy(to, &pairs, sizeof pairs);
  }
};
#endif

constexpr float kLog2Of = static_cast<float>(kLog2E);

// Of kVectors vectors of queries, in the order of memory.
template <int kVectors, class S>
inline void softmax_queries(const AttentionTile& tile, const Mask& mask, int64_t first,
                            float* scores, const SoftmaxState& state, int64_t width, S* weights) {
  constexpr int kStep = kLanes<float>;
  const float factor = tile.scale * kLog2Of;
  const int64_t queries = tile.queries;
  Vec<float> before[kVectors], largest[kVectors], sum[kVectors] = {};
  for (int i = 0; i < kVectors; ++i) {
    largest[i] = before[i] = load_full(state.largest + first + i * kStep);
  }
  for (int64_t s = 0; s < tile.keys; ++s) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const int64_t q = first + i * kStep;
      Vec<float> v = load_full(scores + s * queries + q);
      if (!mask.all) {
        v = mask(v, kNoScore, s, q);
        store_full(scores + s * queries + q, v);
      }
      largest[i] = WEFT_VECTOR_OP(max_ps)(v, largest[i]);
    }
  }
  for (int64_t s = 0; s < tile.keys; s += kTogether<S>) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const int64_t q = first + i * kStep;
      const auto weight = [&](int64_t row) {
        const Vec<float> score = load_full(scores + row * queries + q);
        // Masked: where there is no score at all, none is the largest too.
        const Vec<float> e = mask(weight_of((score - largest[i]) * factor), 0.0F, row, q);
        sum[i] += e;
        return e;
      };
      if constexpr (kTogether<S> == 2) {
        const Vec<float> a = weight(s);
        Bf16Vectors(a, weight(s + 1)).store_together(weights + s * queries + 2 * q);
      } else {
        store_full(weights + s * queries + q, weight(s));
      }
    }
  }
  Vec<float> kept[kVectors];
  for (int i = 0; i < kVectors; ++i) {
    const int64_t q = first + i * kStep;
    kept[i] = weight_of((before[i] - largest[i]) * factor);
    store_full(state.largest + q, largest[i]);
    store_full(state.sum + q, load_full(state.sum + q) * kept[i] + sum[i]);
  }
  for (int64_t c = 0; c < width; ++c) {
    for (int i = 0; i < kVectors; ++i) {
      float* const y = state.y + c * state.y_stride + first + i * kStep;
      store_full(y, load_full(y) * kept[i]);
    }
  }
}

template <class S>
void softmax_tile(const AttentionTile& tile, float* scores, const SoftmaxState& state,
                  int64_t width, S* weights) {
  constexpr int kStep = kLanes<float>;
  const Mask mask(tile);
  if (tile.queries == kAttentionBlock) {
    softmax_queries<kAttentionBlock / kStep>(tile, mask, 0, scores, state, width, weights);
    return;
  }
  for (int64_t q = 0; q < tile.queries; q += kBlockStep) {
    softmax_queries<kBlockStep / kStep>(tile, mask, q, scores, state, width, weights);
  }
}

template <class S>
void finish_softmax(const SoftmaxState& state, int64_t queries, float scale, const RowOutput<S>& to,
                    float* log_sums) {
  for (int64_t q = 0; q < queries; q += kLanes<float>) {
    const Vec<float> part = 1.0F / load_full(state.sum + q);
    for (int64_t c = 0; c < to.width; ++c) {
      float* const y = state.y + c * state.y_stride + q;
      store_full(y, load_full(y) * part);
    }
  }
  store_transposed(state.y, state.y_stride, to);
  for (int64_t q = 0; q < to.count; ++q) {
    log_sums[q] = state.largest[q] * scale * kLog2Of + __builtin_log2f(state.sum[q]);
  }
}

template <class S>
void softmax_tile_backward(const AttentionTile& tile, const SoftmaxGradient<S>& g) {
  const Mask mask(tile);
  const float factor = tile.scale * kLog2Of;
  const int64_t queries = tile.queries;
  for (int64_t s = 0; s < tile.keys; s += kTogether<S>) {
    for (int64_t q = 0; q < queries; q += kLanes<float>) {
      const Vec<float> log_sum = load_full(g.log_sums + q), dot = load_full(g.dots + q);
      struct Gradient {
        Vec<float> weight, score;
      };
      const auto gradient = [&](int64_t row) {
        const int64_t at = row * queries + q;
        const Vec<float> w =
            mask(weight_of(load_full(g.scores + at) * factor - log_sum), 0.0F, row, q);
        return Gradient{w, mask(w * (load_full(g.dweights + at) - dot) * tile.scale, 0.0F, row, q)};
      };
      const int64_t at = s * queries + q;
      const Gradient a = gradient(s);
      if constexpr (kTogether<S> == 2) {
        const Gradient b = gradient(s + 1);
        Bf16Vectors(a.weight, b.weight).store_apart(g.weights + at, g.weights + at + queries);
        const Bf16Vectors scores(a.score, b.score);
        scores.store_apart(g.dscores + at, g.dscores + at + queries);
        scores.store_together(g.packed_dscores + s * queries + 2 * q);
      } else {
        store_full(g.weights + at, a.weight);
        store_full(g.dscores + at, a.score);
      }
    }
  }
}

}  // namespace weft::cpu::WEFT_ISA
