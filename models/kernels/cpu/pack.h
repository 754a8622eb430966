#pragma once
// Blocks of matrices in the forms that block_product reads.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// `count` rows of `width` numbers each.
template <class S>
struct RowBlock {
  const S* data;
  int64_t stride;  // from row to row
  int64_t count, width;
};
template <class S>
struct RowOutput {
  S* data;
  int64_t stride;
  int64_t count, width;
};

// copy_rows: as a left matrix, [padded, width]. transpose_rows: as one, [width, padded].
// pack_rows: as a right matrix [padded, width]; pack_columns: as one [width, padded], of an even
// width for Bf16. Zeros stand for rows from `count` on.
// store_rows: x [count, width] rounded. store_transposed: x [width, padded] likewise.
#define WEFT_DECLARE_PACK(ISA)                                                   \
  namespace ISA {                                                                \
  template <class S>                                                             \
  void copy_rows(const RowBlock<S>& x, int64_t padded, S* to);                   \
  template <class S>                                                             \
  void transpose_rows(const RowBlock<S>& x, int64_t padded, S* to);              \
  template <class S>                                                             \
  void pack_rows(const RowBlock<S>& x, int64_t padded, S* to);                   \
  template <class S>                                                             \
  void pack_columns(const RowBlock<S>& x, int64_t padded, S* to);                \
  template <class S>                                                             \
  void store_rows(const float* x, const RowOutput<S>& to);                       \
  template <class S>                                                             \
  void store_transposed(const float* x, int64_t padded, const RowOutput<S>& to); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_PACK)
#undef WEFT_DECLARE_PACK

}  // namespace weft::cpu
