#pragma once
// Raw CPU kernel of models/kernels/matmul.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// Element (r, c) is data[r * row + c * column]; one of the strides is 1.
struct Matrix {
  const float* data;
  int64_t row, column;
};

// c [m, n], rows of c_row numbers, becomes a b (+ bias [n], or + c where `add`).
struct Matmul {
  int64_t m, n, k;
  Matrix a, b;
  float* c;
  int64_t c_row;
  const float* bias;  // or null
  bool add;
};

// REQUIRES: has_block_products<float>().
void matmul(const Matmul& product, Isa isa);

}  // namespace weft::cpu
