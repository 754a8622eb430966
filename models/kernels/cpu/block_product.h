#pragma once
// Products of blocks that fit in the caches, with fp32 sums: oneDNN's kernels by way of LibTorch,
// which use the units for bf16 matrices where the processor has them.
#include "models/kernels/raw.h"

namespace weft::cpu {

// Rows of the right-hand matrix of a product that lie together. Such a "packed" matrix b [k, n] is
// [k / kTogether, n, kTogether] in memory: rows one by one in fp32, two in turns in bf16.
template <class S>
constexpr int64_t kTogether = sizeof(S) == 2 ? 2 : 1;

// What a product does to the matrix that it is written into: replaces it, or is added to it.
enum class Into { kResult, kSum };

// c [m, n] fp32, rows of ldc numbers, becomes a b or has it added.
template <class S>
struct BlockProduct {
  int64_t m, n, k;  // k: a multiple of kTogether<S>
  const S* a;       // [m, k], rows of lda numbers
  int64_t lda;
  const S* b;  // [k, n], packed: columns of one of ldb
  int64_t ldb;
  float* c;
  int64_t ldc;
  Into into;
};

// Sizes of blocks are multiples of it, with zeros behind what there is, so that they are few.
constexpr int64_t kBlockStep = 32;

// Whether this processor has them, for float or Bf16, at the full rate of its units; unless the
// environment keeps oneDNN from them (ONEDNN_MAX_CPU_ISA), which only bf16 is refused for.
template <class S>
bool has_block_products();

// Kernels are made when a thread first asks for a shape, in some 1 ms: shapes should be few.
template <class S>
void block_product(const BlockProduct<S>& product);

// To be called on a thread that is done with products for now: gives back units that must be
// claimed.
void release_block_products();

}  // namespace weft::cpu
