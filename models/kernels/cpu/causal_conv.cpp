#include "models/kernels/cpu/causal_conv.h"

#include <algorithm>

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/tasks.h"

namespace weft::cpu {
namespace {

// Channels of a single token that are worth a thread: some 4 microseconds.
constexpr int64_t kChannelsOfAThread = 16384;

int64_t task_count(const ConvShape& shape) {
  const int64_t tiles = (shape.time + kConvSteps - 1) / kConvSteps;
  return shape.batch * tiles * ((shape.channels + kConvGroup - 1) / kConvGroup);
}

}  // namespace

int64_t conv_workspace_bytes(int64_t taps, int64_t compute_size) {
  const int64_t rows = 2 * kConvSteps + 2 * taps + 2;  // weight, bias, sums before silu
  const int64_t counts = 2 * (kConvSteps + taps);      // 32-bit numbers
  return rows * kConvGroup * compute_size + counts * int64_t{sizeof(int)} + 4 * 64;
}

template <class S>
void causal_conv(const ConvForward<S>& conv, Isa isa) {
  const auto task = WEFT_KERNEL_FOR(isa, conv_forward_task<S>);
  run_tasks(task_count(conv.in.shape), conv_workspace_bytes(conv.in.shape.taps, sizeof(Compute<S>)),
            [&](int64_t index, void* workspace) { task(conv, index, workspace); });
}

template <class S>
void causal_conv(const ConvBackward<S>& conv, Isa isa) {
  const auto task = WEFT_KERNEL_FOR(isa, conv_backward_task<S>);
  run_tasks(task_count(conv.in.shape), conv_workspace_bytes(conv.in.shape.taps, sizeof(Compute<S>)),
            [&](int64_t index, void* workspace) { task(conv, index, workspace); });
}

template <class S>
void causal_conv(const ConvStep<S>& conv, Isa isa) {
  const ConvShape& shape = conv.in.shape;
  const auto channels = WEFT_KERNEL_FOR(isa, conv_step_channels<S>);
  run_tasks((shape.channels + kConvGroup - 1) / kConvGroup,
            conv_workspace_bytes(shape.taps, sizeof(Compute<S>)),
            [&](int64_t index, void* workspace) {
              const int64_t first = index * kConvGroup;
              channels(conv, first, std::min(first + kConvGroup, shape.channels), workspace);
            },
            /*at_least=*/kChannelsOfAThread / (shape.batch * kConvGroup) + 1);
}

#define WEFT_INSTANTIATE(S)                                 \
  template void causal_conv<S>(const ConvForward<S>&, Isa); \
  template void causal_conv<S>(const ConvStep<S>&, Isa);    \
  template void causal_conv<S>(const ConvBackward<S>&, Isa);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)
#undef WEFT_INSTANTIATE

}  // namespace weft::cpu
