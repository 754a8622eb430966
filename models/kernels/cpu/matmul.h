#pragma once
// Raw CPU kernel of models/kernels/matmul.h.
#include "models/kernels/cpu/block_product.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// Element (r, c) is data[r * row + c * column]; one of the strides is 1.
template <class S>
struct Matrix {
  const S* data;
  int64_t row, column;
};

// c [m, n], rows of c_row numbers, becomes a b (+ bias [n]), or has it added.
template <class S>
struct Matmul {
  int64_t m, n, k;
  Matrix<S> a, b;
  float* c;
  int64_t c_row;
  const S* bias;  // or null
  Into into;
};

// Of float and Bf16. REQUIRES: has_block_products<S>().
template <class S>
void matmul(const Matmul<S>& product, Isa isa);

}  // namespace weft::cpu
