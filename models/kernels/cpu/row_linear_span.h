#pragma once
// Several linear layers as one row of outputs. Apart from row_linear.h, which is read by files
// compiled for one instruction set and must have no inline functions.
#include <algorithm>

#include "models/kernels/cpu/row_linear.h"

namespace weft::cpu {

template <class S>
using RowLinearPart = decltype(&baseline::row_linear_part<S>);

template <class S>
int64_t outputs_of(const LinearLayers<S>& layers) {
  int64_t out = 0;
  for (int64_t l = 0; l < layers.count; ++l) out += layers.data[l].out;
  return out;
}

// Outputs begin .. end - 1 of them.
template <class S>
void row_linear_span(const LinearInput<S>& x, const LinearLayers<S>& layers, int64_t begin,
                     int64_t end, RowLinearPart<S> part) {
  for (int64_t l = 0, offset = 0; l < layers.count; offset += layers.data[l++].out) {
    const int64_t first = std::max<int64_t>(begin - offset, 0);
    const int64_t last = std::min(end - offset, layers.data[l].out);
    if (first < last) part(x, layers.data[l], first, last);
  }
}

}  // namespace weft::cpu
