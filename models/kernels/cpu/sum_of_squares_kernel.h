#pragma once
// Sums of squares in fp64. Included as cpu/vector.h is.
#include "models/kernels/cpu/sum_of_squares.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// As many lanes for every instruction set, so that the sums agree.
typedef double SumLanes __attribute__((vector_size(64)));

template <class C>
double sum_of_squares_range(const C* values, int64_t count) {
  constexpr int kWidth = 8, kChains = 2;
  typedef C Part __attribute__((vector_size(kWidth * sizeof(C))));
  SumLanes sums[kChains] = {};
  int64_t i = 0;
  for (; i + kWidth * kChains <= count; i += kWidth * kChains) {
    for (int chain = 0; chain < kChains; ++chain) {
      Part part;
      __builtin_memcpy(&part, values + i + chain * kWidth, sizeof part);
      const SumLanes wide = __builtin_convertvector(part, SumLanes);
      sums[chain] += wide * wide;
    }
  }
  double sum = 0;
  for (int lane = 0; lane < kWidth; ++lane) sum += sums[0][lane] + sums[1][lane];
  for (; i < count; ++i) sum += double(values[i]) * double(values[i]);
  return sum;
}

}  // namespace weft::cpu::WEFT_ISA
