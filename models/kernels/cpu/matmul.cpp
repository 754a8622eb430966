#include "models/kernels/cpu/matmul.h"

#include <algorithm>
#include <cstddef>

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>

#include "models/kernels/cpu/block_product.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/pack.h"
#include "models/kernels/cpu/tasks.h"
#include "models/kernels/cpu/transpose_words.h"

namespace weft::cpu {
namespace {

// A tile's rows and columns, and what is summed at a time: two such blocks fit in the second cache.
constexpr int64_t kTile = 128;
template <class S>
constexpr int64_t kDepth = 1024 / static_cast<int64_t>(sizeof(S));
int64_t padded(int64_t size) { return (size + kBlockStep - 1) / kBlockStep * kBlockStep; }
bool is_whole(int64_t size) { return size % kBlockStep == 0; }
// Rows further apart are copied: oneDNN counts their distances in 32 bits.
constexpr int64_t kMostStride = 1 << 20;

struct Range {
  int64_t first, count;
};

// The part of a range of `total` that begins at `first`.
Range part(int64_t first, int64_t size, int64_t total) {
  return {first, std::min(size, total - first)};
}

float widen(float x) { return x; }
float widen(Bf16 x) { return c10::BFloat16(static_cast<uint16_t>(x), c10::BFloat16::from_bits()); }

// How blocks of a matrix are copied.
template <class S>
struct Copies {
  decltype(&baseline::pack_rows<S>) pack_rows;
  decltype(&baseline::pack_columns<S>) pack_columns;
  decltype(&baseline::transpose_words) transpose_words;

  explicit Copies(Isa isa)
      : pack_rows(WEFT_KERNEL_FOR(isa, pack_rows<S>)),
        pack_columns(WEFT_KERNEL_FOR(isa, pack_columns<S>)),
        transpose_words(WEFT_KERNEL_FOR(isa, transpose_words)) {}
};

template <class S>
class Product {
 public:
  Product(const Matmul<S>& p, Isa isa) : p_(p), copies_(isa) {
    // A task is that many rows and columns: a block that is copied serves all of them. Smaller ones
    // where threads would have none.
    const int64_t threads = at::get_num_threads();
    for (range_ = 512; range_ > kTile; range_ /= 2) {
      if (tasks() >= 2 * threads) break;
    }
  }

  void run() const {
    run_uneven_tasks(
        tasks(), memory_bytes(),
        [&](int64_t task, void* memory) {
          const int64_t across = pieces(p_.n);
          one_task(part(task / across * range_, range_, p_.m),
                   part(task % across * range_, range_, p_.n), static_cast<std::byte*>(memory));
        },
        release_block_products);
  }

 private:
  // Offsets in a task's memory.
  static int64_t bytes(int64_t numbers, int64_t size) { return to_lines(numbers * size); }
  int64_t a_pairs_at() const { return bytes(range_ * kDepth<S>, sizeof(S)); }
  int64_t b_at() const { return a_pairs_at() + bytes(range_ * kDepth<S>, sizeof(S)); }
  int64_t c_at() const { return b_at() + bytes(kTile * kDepth<S>, sizeof(S)); }
  int64_t memory_bytes() const { return c_at() + bytes(kTile * kTile, sizeof(float)); }

  int64_t pieces(int64_t size) const { return (size + range_ - 1) / range_; }
  int64_t tasks() const { return pieces(p_.m) * pieces(p_.n); }

  void one_task(Range rows, Range columns, std::byte* memory) const {
    auto* const b = reinterpret_cast<S*>(memory + b_at());
    auto* const c = reinterpret_cast<float*>(memory + c_at());
    for (int64_t k = 0; k < p_.k; k += kDepth<S>) {
      const Range depth = part(k, kDepth<S>, p_.k);
      const Block a = left_block(rows, depth, memory);
      for (int64_t j = 0; j < columns.count; j += kTile) {
        const Range across = part(columns.first + j, std::min(kTile, columns.count - j), p_.n);
        right_block(depth, across, b);
        for (int64_t i = 0; i < rows.count; i += kTile) {
          const Range down = part(rows.first + i, std::min(kTile, rows.count - i), p_.m);
          one_tile(down, across, depth, {a.data + i * a.stride, a.stride}, b, c);
        }
      }
    }
  }

  struct Block {
    const S* data;
    int64_t stride;
  };

  // [rows, depth]: where it stands, or a copy.
  Block left_block(Range rows, Range depth, std::byte* memory) const {
    const S* const from = p_.a.data + rows.first * p_.a.row + depth.first * p_.a.column;
    const bool by_rows = p_.a.column == 1;
    const bool whole = is_whole(rows.count) && is_whole(depth.count);
    if (by_rows && whole && p_.a.row <= kMostStride) return {from, p_.a.row};
    const int64_t height = padded(rows.count), width = padded(depth.count);
    auto* const to = reinterpret_cast<S*>(memory);
    if (!by_rows) {
      transpose(from, rows.count, depth.count, memory);
    } else {
      for (int64_t r = 0; r < rows.count; ++r) {
        std::copy_n(from + r * p_.a.row, depth.count, to + r * width);
        std::fill_n(to + r * width + depth.count, width - depth.count, S{});
      }
    }
    std::fill_n(to + rows.count * width, (height - rows.count) * width, S{});
    return {to, width};
  }

  // from [depth, rows] -> memory [rows, padded depth]. Pairs of bf16 numbers are turned over as
  // words.
  void transpose(const S* from, int64_t rows, int64_t depth, std::byte* memory) const {
    constexpr int64_t kWords = kTogether<S>;
    const int64_t width = padded(depth);
    const void* words = from;
    int64_t stride = p_.a.column, used = depth;
    if constexpr (kWords == 2) {
      auto* const pairs = reinterpret_cast<S*>(memory + a_pairs_at());
      copies_.pack_rows({from, p_.a.column, depth, rows}, width, pairs);
      words = pairs;
      stride = rows;
      used = width / 2;
    }
    copies_.transpose_words(words, stride, used, rows, memory, width / kWords);
    auto* const to = reinterpret_cast<S*>(memory);
    for (int64_t r = 0; r < rows && used * kWords < width; ++r) {
      std::fill_n(to + r * width + depth, width - depth, S{});
    }
  }

  // [depth, columns], packed.
  void right_block(Range depth, Range columns, S* to) const {
    const S* const from = p_.b.data + depth.first * p_.b.row + columns.first * p_.b.column;
    const int64_t height = padded(depth.count), width = padded(columns.count);
    constexpr int64_t kRows = kTogether<S>;
    if (p_.b.row == 1 && depth.count % kRows == 0) {
      copies_.pack_columns({from, p_.b.column, columns.count, depth.count}, width, to);
      std::fill_n(to + depth.count * width, (height - depth.count) * width, S{});
    } else if (p_.b.column == 1 && width == columns.count) {
      copies_.pack_rows({from, p_.b.row, depth.count, width}, height, to);
    } else {
      std::fill_n(to, height * width, S{});
      for (int64_t r = 0; r < depth.count; ++r) {
        S* const row = to + r / kRows * kRows * width + r % kRows;
        for (int64_t i = 0; i < columns.count; ++i) {
          row[i * kRows] = from[r * p_.b.row + i * p_.b.column];
        }
      }
    }
  }

  void one_tile(Range rows, Range columns, Range depth, const Block& a, const S* b,
                float* copy) const {
    const bool first = depth.first == 0;
    const bool whole = is_whole(rows.count) && is_whole(columns.count) && p_.c_row <= kMostStride;
    const int64_t width = padded(columns.count);
    float* const c = p_.c + rows.first * p_.c_row + columns.first;
    if (first && p_.bias != nullptr) start_with_bias(rows.count, columns, c);
    const bool add = !first || p_.into == Into::kSum || p_.bias != nullptr;
    block_product<S>({.m = padded(rows.count),
                      .n = width,
                      .k = padded(depth.count),
                      .a = a.data,
                      .lda = a.stride,
                      .b = b,
                      .ldb = width,
                      .c = whole ? c : copy,
                      .ldc = whole ? p_.c_row : width,
                      .into = whole && add ? Into::kSum : Into::kResult});
    if (whole) return;
    for (int64_t r = 0; r < rows.count; ++r) {
      for (int64_t i = 0; i < columns.count; ++i) {
        float& sum = c[r * p_.c_row + i];
        sum = (add ? sum : 0.0F) + copy[r * width + i];
      }
    }
  }

  void start_with_bias(int64_t rows, Range columns, float* c) const {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < columns.count; ++i) {
        float& sum = c[r * p_.c_row + i];
        sum = (p_.into == Into::kSum ? sum : 0.0F) + widen(p_.bias[columns.first + i]);
      }
    }
  }

  const Matmul<S> p_;
  const Copies<S> copies_;
  int64_t range_;
};

}  // namespace

template <class S>
void matmul(const Matmul<S>& product, Isa isa) {
  Product<S>(product, isa).run();
}

template void matmul<float>(const Matmul<float>&, Isa);
template void matmul<Bf16>(const Matmul<Bf16>&, Isa);

}  // namespace weft::cpu
