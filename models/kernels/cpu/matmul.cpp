#include "models/kernels/cpu/matmul.h"

#include <algorithm>

#include <ATen/Parallel.h>

#include "models/kernels/cpu/block_product.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/tasks.h"
#include "models/kernels/cpu/transpose_words.h"

namespace weft::cpu {
namespace {

// A tile's rows and columns, and what is summed at a time: two such blocks fit in the second cache.
constexpr int64_t kTile = 128, kDepth = 256;
// Sizes of blocks are multiples of it (zeros fill them up), so that they are few.
constexpr int64_t kSizeStep = 32;
int64_t padded(int64_t size) { return (size + kSizeStep - 1) / kSizeStep * kSizeStep; }

struct Range {
  int64_t first, count;
};

// The part of a range of `total` that begins at `first`.
Range part(int64_t first, int64_t size, int64_t total) {
  return {first, std::min(size, total - first)};
}

// A block as block_product reads it.
struct Block {
  const float* data;
  int64_t stride;
};

// Rows and columns of a matrix copied into `to` [padded rows, padded columns], zeros behind them.
void copy_block(const Matrix& from, Range rows, Range columns, float* to, Isa isa) {
  const int64_t height = padded(rows.count), width = padded(columns.count);
  const float* const data = from.data + rows.first * from.row + columns.first * from.column;
  if (from.column == 1) {
    for (int64_t r = 0; r < rows.count; ++r) {
      std::copy_n(data + r * from.row, columns.count, to + r * width);
    }
  } else {
    WEFT_KERNEL_FOR(isa, transpose_words)
    (data, from.column, columns.count, rows.count, to, width);
  }
  for (int64_t r = 0; r < rows.count; ++r) {
    std::fill(to + r * width + columns.count, to + (r + 1) * width, 0.0F);
  }
  std::fill(to + rows.count * width, to + height * width, 0.0F);
}

bool is_whole(Range range) { return range.count % kSizeStep == 0; }

class Product {
 public:
  Product(const Matmul& p, Isa isa) : p_(p), isa_(isa) {
    // A task is that many rows and columns: a block that is copied serves all of them. Smaller ones
    // where threads would have none.
    const int64_t threads = at::get_num_threads();
    for (range_ = 512; range_ > kTile; range_ /= 2) {
      if (tasks() >= 2 * threads) break;
    }
  }

  void run() const {
    const int64_t floats = range_ * kDepth + kDepth * kTile + kTile * kTile;
    run_uneven_tasks(
        tasks(), floats * static_cast<int64_t>(sizeof(float)),
        [&](int64_t task, void* memory) {
          const int64_t across = pieces(p_.n);
          one_task(part(task / across * range_, range_, p_.m),
                   part(task % across * range_, range_, p_.n), static_cast<float*>(memory));
        },
        release_block_products);
  }

 private:
  int64_t pieces(int64_t size) const { return (size + range_ - 1) / range_; }
  int64_t tasks() const { return pieces(p_.m) * pieces(p_.n); }

  void one_task(Range rows, Range columns, float* memory) const {
    float* const a_copy = memory;
    float* const b_copy = a_copy + range_ * kDepth;
    float* const c_copy = b_copy + kDepth * kTile;
    for (int64_t k = 0; k < p_.k; k += kDepth) {
      const Range depth = part(k, kDepth, p_.k);
      const bool a_as_it_is = p_.a.column == 1 && is_whole(rows) && is_whole(depth);
      if (!a_as_it_is) copy_block(p_.a, rows, depth, a_copy, isa_);
      const Block a = a_as_it_is ? Block{p_.a.data + rows.first * p_.a.row + k, p_.a.row}
                                 : Block{a_copy, padded(depth.count)};
      for (int64_t j = 0; j < columns.count; j += kTile) {
        const Range across = part(columns.first + j, std::min(kTile, columns.count - j), p_.n);
        copy_block(p_.b, depth, across, b_copy, isa_);
        for (int64_t i = 0; i < rows.count; i += kTile) {
          const Range down = part(rows.first + i, std::min(kTile, rows.count - i), p_.m);
          one_tile(down, across, depth, {a.data + i * a.stride, a.stride}, b_copy, c_copy);
        }
      }
    }
  }

  void one_tile(Range rows, Range columns, Range depth, const Block& a, const float* b,
                float* c_copy) const {
    float* const c = p_.c + rows.first * p_.c_row + columns.first;
    const bool first = depth.first == 0, add = !first || p_.add || p_.bias != nullptr;
    if (first && p_.bias != nullptr) {
      for (int64_t r = 0; r < rows.count; ++r) {
        std::copy_n(p_.bias + columns.first, columns.count, c + r * p_.c_row);
      }
    }
    const int64_t width = padded(columns.count);
    const bool as_it_is = is_whole(rows) && is_whole(columns);
    block_product<float>({.m = padded(rows.count),
                          .n = width,
                          .k = padded(depth.count),
                          .a = a.data,
                          .lda = a.stride,
                          .b = b,
                          .c = as_it_is ? c : c_copy,
                          .ldc = as_it_is ? p_.c_row : width,
                          .add = as_it_is && add});
    if (as_it_is) return;
    for (int64_t r = 0; r < rows.count; ++r) {
      for (int64_t i = 0; i < columns.count; ++i) {
        float& sum = c[r * p_.c_row + i];
        sum = (add ? sum : 0.0F) + c_copy[r * width + i];
      }
    }
  }

  const Matmul p_;
  const Isa isa_;
  int64_t range_;
};

}  // namespace

void matmul(const Matmul& product, Isa isa) { Product(product, isa).run(); }

}  // namespace weft::cpu
