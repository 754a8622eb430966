#define WEFT_ISA exponentials
#include "bench/exponentials.h"

#include "models/kernels/cpu/vector_math.h"

namespace weft {

void make_exponentials(const float* from, float* to, int passes) {
  using cpu::exponentials::kLanes;
  for (int pass = 0; pass < passes; ++pass) {
    for (int i = 0; i < kExponentials; i += kLanes<float>) {
      using cpu::exponentials::load_full;
      cpu::exponentials::store_full(
          to + i, cpu::exponentials::exp2_nonpositive<float>(load_full(from + i)));
    }
    asm volatile("" : : "r"(to) : "memory");  // all are wanted, every time
  }
}

}  // namespace weft
