#pragma once
// Sums over rows. Included as cpu/vector.h is.
#include "models/kernels/cpu/column_sums.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// A column's numbers are summed in blocks of so many rows, and the blocks in order. A thread goes
// along some vectors of each row, so that memory is read as it lies.
template <class S>
void column_sums_range(const SummedRows<S>& x, int64_t begin, int64_t end, Compute<S>* sum) {
  using C = Compute<S>;
  constexpr int64_t kRowsAtOnce = 64;
  constexpr int kVectors = 32;
  for (int64_t first = begin; first < end; first += kVectors * kLanes<C>) {
    Vec<C> total[kVectors] = {};
    for (int64_t row = 0; row < x.rows; row += kRowsAtOnce) {
      const int64_t last = row + kRowsAtOnce < x.rows ? row + kRowsAtOnce : x.rows;
      Vec<C> part[kVectors] = {};
      for (int64_t r = row; r < last; ++r) {
        const S* from = x.data + r * x.stride + first;
        for (int v = 0; v < kVectors && first + v * kLanes<C> < end; ++v) {
          const int64_t left = end - first - v * kLanes<C>;
          part[v] +=
              load(from + v * kLanes<C>, left < kLanes<C> ? static_cast<int>(left) : kLanes<C>);
        }
      }
      for (int v = 0; v < kVectors; ++v) total[v] += part[v];
    }
    for (int v = 0; v < kVectors && first + v * kLanes<C> < end; ++v) {
      C* to = sum + first + v * kLanes<C>;
      const int64_t left = end - first - v * kLanes<C>;
      const int count = left < kLanes<C> ? static_cast<int>(left) : kLanes<C>;
      store(to, load(to, count) + total[v], count);
    }
  }
}

}  // namespace weft::cpu::WEFT_ISA
