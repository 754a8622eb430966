#pragma once
// Raw CPU kernel of models/kernels/block_attention.h. The scores of a block of queries and a block
// of keys are a tile [keys, queries]: softmax runs over the rows, so that every query has a lane
// of its own, and nothing but sums of rows is ever needed.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/cpu/pack.h"
#include "models/kernels/raw.h"
#include "models/kernels/segment.h"

namespace weft::cpu {

// Queries, and keys, in a block.
constexpr int64_t kAttentionBlock = 128;
// Keys of a block that are taken together where its own queries come to them: fewer, as half of
// such a tile is of no use.
constexpr int64_t kDiagonalKeys = 64;

// Element i of head h of token t of row r is data[r * row + t * token + h * head + i].
template <class S>
struct Heads {
  S* data;
  int64_t row, token, head;  // strides
};

template <class S>
struct AttentionInputs {
  int64_t heads, kv_heads, width, length;  // length: tokens in a row
  int64_t window;                          // 0: none
  const Segment* segments;
  int64_t num_segments;
  Heads<const S> q, k, v;
};

// log_sums [Bz, H, T]: binary logarithms of the sums of exponentials of a query's scores.
template <class S>
struct AttentionForward {
  AttentionInputs<S> in;
  Heads<S> y;
  float* log_sums;
};

template <class S>
struct AttentionBackward {
  AttentionInputs<S> in;
  Heads<const S> y, dy;
  const float* log_sums;
  Heads<S> dq, dk, dv;
};

// For float and Bf16. The backward pass has a task for each document and key/value head, no more:
// few long ones leave threads idle. REQUIRES: has_block_products<S>(); an even width for Bf16.
template <class S>
void block_attention(const AttentionForward<S>& attention, Isa isa);
template <class S>
void block_attention(const AttentionBackward<S>& attention, Isa isa);

// A tile of scores, and what it is of. Keys and queries are counted from the start of the document;
// those behind its end are zeros, and there are as many of them as make the sizes multiples of 32.
struct AttentionTile {
  int64_t keys, queries;
  int64_t first_key, first_query;
  int64_t window;
  float scale;  // of the scores
};

// What softmax has seen of each query of a block.
struct SoftmaxState {
  float *largest, *sum;  // [queries]
  float* y;              // [width, queries], rows of y_stride: the weighted values so far
  int64_t y_stride;
};

// Of a query that has seen no key: the lowest number.
constexpr float kNoScore = -3.40282347e38F;

// A tile's backward pass: from scores and the gradients of its weights, log_sums and dots = y . dy
// of its queries, to weights [keys, queries], scale * dscores likewise, and packed (float: unused).
template <class S>
struct SoftmaxGradient {
  const float *scores, *dweights, *log_sums, *dots;
  S *weights, *dscores, *packed_dscores;
};

// dot_rows: to[r] = a[r] . b[r].
// softmax_tile: scores become weights exp(scale (score - largest)), packed; what the state has so
// far is scaled down where a larger score has come.
// finish_softmax: y / sum of the first to.count queries, and the logarithms of their sums.
#define WEFT_DECLARE_BLOCK_ATTENTION(ISA)                                                    \
  namespace ISA {                                                                            \
  template <class S>                                                                         \
  void dot_rows(const RowBlock<S>& a, const RowBlock<S>& b, float* to);                      \
  template <class S>                                                                         \
  void softmax_tile(const AttentionTile& tile, float* scores, const SoftmaxState& state,     \
                    int64_t width, S* weights);                                              \
  template <class S>                                                                         \
  void finish_softmax(const SoftmaxState& state, int64_t queries, float scale,               \
                      const RowOutput<S>& to, float* log_sums);                              \
  template <class S>                                                                         \
  void softmax_tile_backward(const AttentionTile& tile, const SoftmaxGradient<S>& gradient); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_BLOCK_ATTENTION)
#undef WEFT_DECLARE_BLOCK_ATTENTION

}  // namespace weft::cpu
