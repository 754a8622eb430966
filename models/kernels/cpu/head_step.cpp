#include "models/kernels/cpu/head_step.h"

#include <algorithm>
#include <type_traits>

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/stages.h"

namespace weft::cpu {

template <class S>
void head_step(const HeadStep<S>& step, Isa isa) {
  const int64_t width = step.residual.width, rows = step.residual.rows;
  const NormedResidual<S> normed(step.residual, Stages::max_threads());
  const auto linear = WEFT_KERNEL_FOR(isa, row_linear_part<S>);
  constexpr bool kWidened = !std::is_same_v<S, Compute<S>>;
  const AlignedBytes memory = aligned_bytes(kWidened ? rows * step.vocab * sizeof(S) : 0);
  LinearRows<S> head = {step.vocab, step.head, width, nullptr, nullptr};
  if constexpr (kWidened) {
    head.y = reinterpret_cast<S*>(memory.get());
  } else {
    head.y = step.logits;
  }
  Stages stages;
  stages.add(step.vocab, width * static_cast<int64_t>(sizeof(S)),
             [&](int64_t thread, int64_t begin, int64_t end) {
               linear(normed.on(thread), head, begin, end);
               if constexpr (kWidened) {
                 const auto* rounded = reinterpret_cast<const LibTorchType<S>*>(head.y);
                 for (int64_t row = 0; row < rows; ++row) {
                   const int64_t at = row * step.vocab;
                   std::copy(rounded + at + begin, rounded + at + end, step.logits + at + begin);
                 }
               }
             });
  stages.run();
}

template void head_step<float>(const HeadStep<float>&, Isa);
template void head_step<double>(const HeadStep<double>&, Isa);
template void head_step<Bf16>(const HeadStep<Bf16>&, Isa);

}  // namespace weft::cpu
