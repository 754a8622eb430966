#pragma once
// Raw CPU kernel of models/kernels/row_linear.h. Bounded by reading the weights: each thread walks
// through a range of weight rows in the order of memory.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

// x [rows, in] with dense rows.
template <class S>
struct LinearInput {
  const S* data;
  int64_t rows, in, stride;
};

// A layer of that input: weight [out, in], bias [out] or null, y [rows, out] dense.
template <class S>
struct LinearRows {
  int64_t out;
  const S* weight;
  int64_t weight_stride;
  const S* bias;
  S* y;
};

// Some layers in a row.
template <class S>
struct LinearLayers {
  const LinearRows<S>* data;
  int64_t count;
};

template <class S>
void row_linear(const LinearInput<S>& x, const LinearLayers<S>& layers, Isa isa);

// Outputs first .. end - 1 of a layer for all rows of x, as compiled for each instruction set.
#define WEFT_DECLARE_ROW_LINEAR(ISA)                                                       \
  namespace ISA {                                                                          \
  template <class S>                                                                       \
  void row_linear_part(const LinearInput<S>& x, const LinearRows<S>& layer, int64_t first, \
                       int64_t end);                                                       \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_ROW_LINEAR)
#undef WEFT_DECLARE_ROW_LINEAR

}  // namespace weft::cpu
