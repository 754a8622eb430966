#include "models/kernels/cpu/row_linear.h"

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/row_linear_span.h"
#include "models/kernels/cpu/stages.h"

namespace weft::cpu {

template <class S>
void row_linear(const LinearInput<S>& x, const LinearLayers<S>& layers, Isa isa) {
  const auto part = WEFT_KERNEL_FOR(isa, row_linear_part<S>);
  Stages stages;
  stages.add(
      outputs_of(layers), x.in * static_cast<int64_t>(sizeof(S)),
      [&](int64_t, int64_t begin, int64_t end) { row_linear_span(x, layers, begin, end, part); });
  stages.run();
}

template void row_linear<float>(const LinearInput<float>&, const LinearLayers<float>&, Isa);
template void row_linear<double>(const LinearInput<double>&, const LinearLayers<double>&, Isa);
template void row_linear<Bf16>(const LinearInput<Bf16>&, const LinearLayers<Bf16>&, Isa);

}  // namespace weft::cpu
