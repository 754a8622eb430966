#include "models/kernels/cpu/cross_entropy.h"

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/tasks.h"

namespace weft::cpu {

template <class S>
void cross_entropy(const CrossEntropyRows<S>& rows, Isa isa) {
  constexpr int64_t kLogitsPerThread = 32 << 10;  // some 10 us
  const auto row_kernel = WEFT_KERNEL_FOR(isa, cross_entropy_row<S>);
  const int64_t workspace = rows.gradient ? rows.vocab * sizeof(Compute<S>) : 0;
  run_tasks(
      rows.rows, workspace,
      [&](int64_t row, void* memory) { row_kernel(rows, row, static_cast<Compute<S>*>(memory)); },
      /*at_least=*/kLogitsPerThread / (rows.vocab + 1) + 1);
}

template void cross_entropy<float>(const CrossEntropyRows<float>&, Isa);
template void cross_entropy<double>(const CrossEntropyRows<double>&, Isa);
template void cross_entropy<Bf16>(const CrossEntropyRows<Bf16>&, Isa);

}  // namespace weft::cpu
