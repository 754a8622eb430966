#include "models/kernels/cpu/block_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/kernels/cpu/block_product.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/tasks.h"

namespace weft::cpu {
namespace {

int64_t padded(int64_t tokens) { return (tokens + kBlockStep - 1) / kBlockStep * kBlockStep; }
int64_t blocks_of(int64_t tokens) { return (tokens + kAttentionBlock - 1) / kAttentionBlock; }

template <class S>
struct Parts {
  decltype(&baseline::copy_rows<S>) copy_rows;
  decltype(&baseline::transpose_rows<S>) transpose_rows;
  decltype(&baseline::pack_rows<S>) pack_rows;
  decltype(&baseline::pack_columns<S>) pack_columns;
  decltype(&baseline::store_rows<S>) store_rows;
  decltype(&baseline::store_transposed<S>) store_transposed;
  decltype(&baseline::dot_rows<S>) dot_rows;
  decltype(&baseline::softmax_tile<S>) softmax_tile;
  decltype(&baseline::finish_softmax<S>) finish_softmax;
  decltype(&baseline::softmax_tile_backward<S>) softmax_tile_backward;

  explicit Parts(Isa isa)
      : copy_rows(WEFT_KERNEL_FOR(isa, copy_rows<S>)),
        transpose_rows(WEFT_KERNEL_FOR(isa, transpose_rows<S>)),
        pack_rows(WEFT_KERNEL_FOR(isa, pack_rows<S>)),
        pack_columns(WEFT_KERNEL_FOR(isa, pack_columns<S>)),
        store_rows(WEFT_KERNEL_FOR(isa, store_rows<S>)),
        store_transposed(WEFT_KERNEL_FOR(isa, store_transposed<S>)),
        dot_rows(WEFT_KERNEL_FOR(isa, dot_rows<S>)),
        softmax_tile(WEFT_KERNEL_FOR(isa, softmax_tile<S>)),
        finish_softmax(WEFT_KERNEL_FOR(isa, finish_softmax<S>)),
        softmax_tile_backward(WEFT_KERNEL_FOR(isa, softmax_tile_backward<S>)) {}
};

// Some tokens of a document that are a block of queries or keys.
struct Block {
  int64_t first, count;  // from the document's first token
  int64_t size;          // padded
};

Block block_at(const Segment& segment, int64_t index) {
  const int64_t first = index * kAttentionBlock;
  const int64_t count = std::min(kAttentionBlock, segment.end - segment.begin - first);
  return {first, count, padded(count)};
}

// The first block of keys that queries of this block see; the last is the block itself.
int64_t first_key_block(const Block& queries, int64_t window) {
  return window == 0 ? 0 : std::max<int64_t>(0, queries.first - window + 1) / kAttentionBlock;
}

// Some keys of a block, and queries of which each sees one of them or more.
struct Tile {
  int64_t block;           // of keys
  int64_t key, keys;       // the first, in the block, and how many
  int64_t query, queries;  // likewise
};

// f(tile) for all that the queries of a block see.
template <class F>
void for_each_tile(const Block& queries, int64_t index, int64_t window, const F& f) {
  for (int64_t j = first_key_block(queries, window); j < index; ++j) {
    f(Tile{j, 0, kAttentionBlock, 0, queries.size});
  }
  for (int64_t key = 0; key < queries.size; key += kDiagonalKeys) {
    f(Tile{index, key, std::min(kDiagonalKeys, queries.size - key), key, queries.size - key});
  }
}

template <class S>
S* token_at(const Heads<S>& heads, const Segment& segment, int64_t token, int64_t head) {
  return heads.data + segment.row * heads.row + (segment.begin + token) * heads.token +
         head * heads.head;
}

// Numbers of T, each array aligned, one after the other.
class Layout {
 public:
  template <class T>
  int64_t take(int64_t count) {
    const int64_t at = bytes_;
    bytes_ += to_lines(count * static_cast<int64_t>(sizeof(T)));
    return at;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

template <class T>
T* part_of(void* memory, int64_t at) {
  return reinterpret_cast<T*>(static_cast<std::byte*>(memory) + at);
}

template <class S>
class Attention {
 public:
  Attention(const AttentionInputs<S>& in, Isa isa)
      : in_(in), parts_(isa), scale_(1 / std::sqrt(static_cast<float>(in.width))) {}

 protected:
  RowBlock<S> tokens(const Heads<const S>& x, const Segment& segment, const Block& block,
                     int64_t head) const {
    return {token_at(x, segment, block.first, head), x.token, block.count, in_.width};
  }
  AttentionTile place_of(const Tile& tile, const Block& queries) const {
    return {tile.keys,
            tile.queries,
            tile.block * kAttentionBlock + tile.key,
            queries.first + tile.query,
            in_.window,
            scale_};
  }
  int64_t group() const { return in_.heads / in_.kv_heads; }
  const Segment& segment(int64_t i) const { return in_.segments[i]; }
  float* log_sums_at(float* log_sums, const Segment& s, int64_t token, int64_t head) const {
    return log_sums + (s.row * in_.heads + head) * in_.length + s.begin + token;
  }

  struct Sizes {
    int64_t m, n, k;
  };
  // A matrix and the numbers from one of its rows to the next; packed: to the next ones.
  template <class T>
  struct Matrix {
    T* data;
    int64_t stride;
  };
  // c [m, n] = a [m, k] b, or has it added.
  static void multiply(const Sizes& sizes, const Matrix<const S>& a, const Matrix<const S>& b,
                       const Matrix<float>& c, Into into) {
    block_product<S>({.m = sizes.m,
                      .n = sizes.n,
                      .k = sizes.k,
                      .a = a.data,
                      .lda = a.stride,
                      .b = b.data,
                      .ldb = b.stride,
                      .c = c.data,
                      .ldc = c.stride,
                      .into = into});
  }
  // From a column of a packed matrix on.
  static Matrix<const S> columns_from(int64_t first, const S* packed, int64_t stride) {
    return {packed + first * kTogether<S>, stride};
  }

  const AttentionInputs<S> in_;
  const Parts<S> parts_;
  const float scale_;
};

// Keys and values are put into the products' form once; then every block of queries is a task.
template <class S>
class Forward : Attention<S> {
 public:
  Forward(const AttentionForward<S>& attention, Isa isa)
      : Attention<S>(attention.in, isa), attention_(attention) {
    for (int64_t i = 0; i < in_.num_segments; ++i) {
      offsets_.push_back(total_);
      const int64_t length = segment(i).end - segment(i).begin;
      total_ += padded(length);
      for (int64_t b = 0; b < blocks_of(length); ++b) blocks_.push_back({i, b});
    }
    std::stable_sort(blocks_.begin(), blocks_.end(),
                     [](const Task& a, const Task& b) { return a.block > b.block; });
    const int64_t heads_bytes = total_ * in_.width * static_cast<int64_t>(sizeof(S));
    keys_ = aligned_bytes(in_.kv_heads * heads_bytes);
    values_ = aligned_bytes(in_.kv_heads * heads_bytes);
    constexpr int64_t kSide = kAttentionBlock;
    queries_at_ = layout_.template take<S>(in_.width * kSide);
    scores_at_ = layout_.template take<float>(kSide * kSide);
    weights_at_ = layout_.template take<S>(kSide * kSide);
    largest_at_ = layout_.template take<float>(kSide);
    sum_at_ = layout_.template take<float>(kSide);
    y_at_ = layout_.template take<float>(in_.width * kSide);
  }

  void run() {
    const int64_t blocks = static_cast<int64_t>(blocks_.size());
    run_tasks(blocks * in_.kv_heads, 0, [&](int64_t task, void*) {
      arrange(blocks_[task / in_.kv_heads], task % in_.kv_heads);
    });
    run_uneven_tasks(
        blocks * in_.heads, layout_.bytes(),
        [&](int64_t task, void* memory) {
          attend(blocks_[task / in_.heads], task % in_.heads, memory);
        },
        release_block_products);
  }

 private:
  using Base = Attention<S>;
  using Base::in_, Base::parts_, Base::scale_, Base::segment, Base::tokens;
  struct Task {
    int64_t segment, block;
  };

  // Where a block of keys or values stands, arranged.
  S* arranged(const AlignedBytes& all, int64_t segment, int64_t block, int64_t kv_head) const {
    const int64_t token = offsets_[segment] + block * kAttentionBlock;
    return part_of<S>(all.get(), 0) + (kv_head * total_ + token) * in_.width;
  }

  void arrange(const Task& task, int64_t kv_head) {
    const Segment& s = segment(task.segment);
    const Block block = block_at(s, task.block);
    parts_.copy_rows(tokens(in_.k, s, block, kv_head), block.size,
                     arranged(keys_, task.segment, task.block, kv_head));
    parts_.transpose_rows(tokens(in_.v, s, block, kv_head), block.size,
                          arranged(values_, task.segment, task.block, kv_head));
  }

  void attend(const Task& task, int64_t head, void* memory) const {
    const Segment& s = segment(task.segment);
    const Block queries = block_at(s, task.block);
    const int64_t width = in_.width, kv_head = head / this->group(), n = queries.size;
    S* const q = part_of<S>(memory, queries_at_);
    float* const scores = part_of<float>(memory, scores_at_);
    S* const weights = part_of<S>(memory, weights_at_);
    const SoftmaxState state{part_of<float>(memory, largest_at_), part_of<float>(memory, sum_at_),
                             part_of<float>(memory, y_at_), n};
    std::fill_n(state.largest, n, kNoScore);
    std::fill_n(state.sum, n, 0.0F);
    std::fill_n(state.y, width * n, 0.0F);
    parts_.pack_columns(tokens(in_.q, s, queries, head), n, q);
    for_each_tile(queries, task.block, in_.window, [&](const Tile& t) {
      const S* const k = arranged(keys_, task.segment, t.block, kv_head) + t.key * width;
      const S* const v = arranged(values_, task.segment, t.block, kv_head) + t.key;
      Base::multiply({t.keys, t.queries, width}, {k, width}, Base::columns_from(t.query, q, n),
                     {scores, t.queries}, Into::kResult);
      const SoftmaxState seen{state.largest + t.query, state.sum + t.query, state.y + t.query, n};
      parts_.softmax_tile(this->place_of(t, queries), scores, seen, width, weights);
      Base::multiply({width, t.queries, t.keys}, {v, block_at(s, t.block).size},
                     {weights, t.queries}, {seen.y, n}, Into::kSum);
    });
    parts_.finish_softmax(
        state, n, scale_,
        {token_at(attention_.y, s, queries.first, head), attention_.y.token, queries.count, width},
        this->log_sums_at(attention_.log_sums, s, queries.first, head));
  }

  const AttentionForward<S> attention_;
  std::vector<Task> blocks_;
  std::vector<int64_t> offsets_;  // of the segments in keys_ and values_, in tokens
  int64_t total_ = 0;             // tokens there
  AlignedBytes keys_, values_;    // [kv heads, total, width]: blocks [keys, width], [width, keys]
  Layout layout_;
  int64_t queries_at_, scores_at_, weights_at_, largest_at_, sum_at_, y_at_;
};

// One task is all queries of a document that share a key/value head: the sums for keys and values
// are its own, and in one order.
template <class S>
class Backward : Attention<S> {
 public:
  Backward(const AttentionBackward<S>& attention, Isa isa)
      : Attention<S>(attention.in, isa), attention_(attention) {
    int64_t longest = 0;
    for (int64_t i = 0; i < in_.num_segments; ++i) {
      by_length_.push_back(i);
      longest = std::max(longest, padded(segment(i).end - segment(i).begin));
    }
    std::stable_sort(by_length_.begin(), by_length_.end(), [&](int64_t a, int64_t b) {
      return segment(a).end - segment(a).begin > segment(b).end - segment(b).begin;
    });
    constexpr int64_t kSide = kAttentionBlock;
    const int64_t document = longest * in_.width, block = kSide * in_.width, tile = kSide * kSide;
    for (int64_t* at : {&k_at_, &kt_at_, &v_at_}) *at = layout_.template take<S>(document);
    for (int64_t* at : {&dk_at_, &dv_at_}) *at = layout_.template take<float>(document);
    for (int64_t* at : {&q_at_, &q_channels_at_, &dy_at_, &dy_channels_at_}) {
      *at = layout_.template take<S>(block);
    }
    dq_at_ = layout_.template take<float>(block);
    for (int64_t* at : {&scores_at_, &dweights_at_}) *at = layout_.template take<float>(tile);
    for (int64_t* at : {&weights_at_, &dscores_at_}) *at = layout_.template take<S>(tile);
    packed_at_ = layout_.template take<S>(kTogether<S> == 1 ? 0 : tile);
    for (int64_t* at : {&log_sums_at_, &dots_at_}) *at = layout_.template take<float>(kSide);
  }

  void run() const {
    run_uneven_tasks(
        in_.num_segments * in_.kv_heads, layout_.bytes(),
        [&](int64_t task, void* memory) {
          differentiate(segment(by_length_[task / in_.kv_heads]), task % in_.kv_heads, memory);
        },
        release_block_products);
  }

 private:
  using Base = Attention<S>;
  using Base::in_, Base::parts_, Base::segment, Base::tokens;
  using Sizes = typename Base::Sizes;

  void differentiate(const Segment& s, int64_t kv_head, void* memory) const {
    const int64_t width = in_.width, length = s.end - s.begin, count = blocks_of(length);
    float* const dk = part_of<float>(memory, dk_at_);
    float* const dv = part_of<float>(memory, dv_at_);
    std::fill_n(dk, padded(length) * width, 0.0F);
    std::fill_n(dv, padded(length) * width, 0.0F);
    for (int64_t j = 0; j < count; ++j) {
      const Block keys = block_at(s, j);
      const int64_t at = keys.first * width;
      const RowBlock<S> k = tokens(in_.k, s, keys, kv_head);
      parts_.copy_rows(k, keys.size, part_of<S>(memory, k_at_) + at);
      parts_.transpose_rows(k, keys.size, part_of<S>(memory, kt_at_) + at);
      parts_.copy_rows(tokens(in_.v, s, keys, kv_head), keys.size, part_of<S>(memory, v_at_) + at);
    }
    for (int64_t head = kv_head * this->group(); head < (kv_head + 1) * this->group(); ++head) {
      for (int64_t i = 0; i < count; ++i) differentiate_queries(s, i, head, memory);
    }
    parts_.store_rows(dk,
                      {token_at(attention_.dk, s, 0, kv_head), attention_.dk.token, length, width});
    parts_.store_rows(dv,
                      {token_at(attention_.dv, s, 0, kv_head), attention_.dv.token, length, width});
  }

  void differentiate_queries(const Segment& s, int64_t index, int64_t head, void* memory) const {
    const Block queries = block_at(s, index);
    const int64_t width = in_.width, n = queries.size;
    S* const q = part_of<S>(memory, q_at_);
    S* const q_channels = part_of<S>(memory, q_channels_at_);
    S* const dy = part_of<S>(memory, dy_at_);
    S* const dy_channels = part_of<S>(memory, dy_channels_at_);
    float* const dq = part_of<float>(memory, dq_at_);
    float* const scores = part_of<float>(memory, scores_at_);
    float* const dweights = part_of<float>(memory, dweights_at_);
    S* const weights = part_of<S>(memory, weights_at_);
    S* const dscores = part_of<S>(memory, dscores_at_);
    S* const packed = kTogether<S> == 1 ? dscores : part_of<S>(memory, packed_at_);
    float* const log_sums = part_of<float>(memory, log_sums_at_);
    float* const dots = part_of<float>(memory, dots_at_);

    const RowBlock<S> q_tokens = tokens(in_.q, s, queries, head);
    const RowBlock<S> dy_tokens = tokens(attention_.dy, s, queries, head);
    parts_.pack_rows(q_tokens, n, q);
    parts_.pack_columns(q_tokens, n, q_channels);
    parts_.pack_rows(dy_tokens, n, dy);
    parts_.pack_columns(dy_tokens, n, dy_channels);
    std::fill_n(log_sums, n, 1e30F);  // no weight for queries behind the end
    std::fill_n(dots, n, 0.0F);
    const int64_t first = (s.row * in_.heads + head) * in_.length + s.begin + queries.first;
    std::copy_n(attention_.log_sums + first, queries.count, log_sums);
    parts_.dot_rows(tokens(attention_.y, s, queries, head), dy_tokens, dots);
    std::fill_n(dq, n * width, 0.0F);
    for_each_tile(queries, index, in_.window, [&](const Tile& t) {
      const Sizes scores_size{t.keys, t.queries, width}, keys_size{t.keys, width, t.queries};
      const int64_t block = t.block * kAttentionBlock * width, at = block + t.key * width;
      const S* const kt = part_of<S>(memory, kt_at_) + block + t.key;
      Base::multiply(scores_size, {part_of<S>(memory, k_at_) + at, width},
                     Base::columns_from(t.query, q_channels, n), {scores, t.queries},
                     Into::kResult);
      Base::multiply(scores_size, {part_of<S>(memory, v_at_) + at, width},
                     Base::columns_from(t.query, dy_channels, n), {dweights, t.queries},
                     Into::kResult);
      parts_.softmax_tile_backward(
          this->place_of(t, queries),
          {scores, dweights, log_sums + t.query, dots + t.query, weights, dscores, packed});
      Base::multiply(keys_size, {weights, t.queries}, {dy + t.query * width, width},
                     {part_of<float>(memory, dv_at_) + at, width}, Into::kSum);
      Base::multiply(keys_size, {dscores, t.queries}, {q + t.query * width, width},
                     {part_of<float>(memory, dk_at_) + at, width}, Into::kSum);
      Base::multiply({width, t.queries, t.keys}, {kt, block_at(s, t.block).size},
                     {packed, t.queries}, {dq + t.query, n}, Into::kSum);
    });
    parts_.store_transposed(dq, n,
                            {token_at(attention_.dq, s, queries.first, head), attention_.dq.token,
                             queries.count, width});
  }

  const AttentionBackward<S> attention_;
  std::vector<int64_t> by_length_;  // segments, the longest first
  Layout layout_;
  // In a workspace: a document's keys and values, [keys, width] and [width, keys], and their
  // gradients; a block's queries and gradients, packed both ways; a tile.
  int64_t k_at_, kt_at_, v_at_, dk_at_, dv_at_;
  int64_t q_at_, q_channels_at_, dy_at_, dy_channels_at_, dq_at_;
  int64_t scores_at_, dweights_at_, weights_at_, dscores_at_, packed_at_, log_sums_at_, dots_at_;
};

}  // namespace

template <class S>
void block_attention(const AttentionForward<S>& attention, Isa isa) {
  Forward<S>(attention, isa).run();
}

template <class S>
void block_attention(const AttentionBackward<S>& attention, Isa isa) {
  Backward<S>(attention, isa).run();
}

template void block_attention<float>(const AttentionForward<float>&, Isa);
template void block_attention<Bf16>(const AttentionForward<Bf16>&, Isa);
template void block_attention<float>(const AttentionBackward<float>&, Isa);
template void block_attention<Bf16>(const AttentionBackward<Bf16>&, Isa);

}  // namespace weft::cpu
