#include "models/kernels/cpu/attention_step.h"

#include <algorithm>
#include <vector>

#include "models/kernels/cpu/tasks.h"

namespace weft::cpu {
namespace {

// Keys and values of this size take a thread some 5 us: no other is woken for fewer.
constexpr int64_t kBytesPerThread = 128 << 10;

}  // namespace

template <class S>
void attention_step(const AttentionStepRaw<S>& step, Isa isa) {
  using C = Compute<S>;
  const auto run = isa == Isa::kAvx512 ? avx512::attention_step_part<S>
                   : isa == Isa::kAvx2 ? avx2::attention_step_part<S>
                                       : baseline::attention_step_part<S>;
  const auto join = isa == Isa::kAvx512 ? avx512::attention_step_join<S>
                    : isa == Isa::kAvx2 ? avx2::attention_step_join<S>
                                        : baseline::attention_step_join<S>;
  int64_t most = 0;  // slots in use
  for (int64_t row = 0; row < step.rows; ++row) {
    most = std::max(most, std::min(step.lengths[row] + 1, step.slots));
  }
  const int64_t count = (most + kSlotsPerPart - 1) / kSlotsPerPart;
  const int64_t softmaxes = step.rows * count * step.heads;
  std::vector<C> numbers(static_cast<size_t>(softmaxes * (2 + step.width)));
  const AttentionParts<C> parts{.largest = numbers.data(),
                                .sum = numbers.data() + softmaxes,
                                .y = numbers.data() + 2 * softmaxes,
                                .parts = count};
  const int64_t task_bytes =
      2 * std::min(most, kSlotsPerPart) * step.width * static_cast<int64_t>(sizeof(S));
  run_tasks(
      step.rows * step.kv_heads * count,
      attention_step_workspace_bytes(step.width, static_cast<int64_t>(sizeof(C))),
      [&](int64_t task, void* workspace) {
        const int64_t part = task % count, head = task / count % step.kv_heads;
        run(step, parts, task / count / step.kv_heads, head, part, workspace);
      },
      std::max<int64_t>(1, kBytesPerThread / std::max<int64_t>(1, task_bytes)));
  for (int64_t row = 0; row < step.rows; ++row) join(step, parts, row);
}

template void attention_step<float>(const AttentionStepRaw<float>&, Isa);
template void attention_step<double>(const AttentionStepRaw<double>&, Isa);
template void attention_step<Bf16>(const AttentionStepRaw<Bf16>&, Isa);

}  // namespace weft::cpu
