#include "models/kernels/cpu/silu_mul.h"

#include <ATen/Parallel.h>

namespace weft::cpu {

template <class S>
void silu_mul(const S* gate, const S* up, S* y, int64_t count, Isa isa) {
  constexpr int64_t kPerThread = 32 << 10;  // some 10 us
  const auto run = isa == Isa::kAvx512 ? avx512::silu_mul_range<S>
                   : isa == Isa::kAvx2 ? avx2::silu_mul_range<S>
                                       : baseline::silu_mul_range<S>;
  at::parallel_for(0, count, kPerThread, [&](int64_t begin, int64_t end) {
    run(gate + begin, up + begin, y + begin, end - begin);
  });
}

template void silu_mul<float>(const float*, const float*, float*, int64_t, Isa);
template void silu_mul<double>(const double*, const double*, double*, int64_t, Isa);
template void silu_mul<Bf16>(const Bf16*, const Bf16*, Bf16*, int64_t, Isa);

}  // namespace weft::cpu
