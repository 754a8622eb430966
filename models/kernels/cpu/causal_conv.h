#pragma once
// Raw CPU kernels of models/kernels/causal_conv.h. A task is a tile of time times a group of
// kConvGroup channels; sums over time are made inside tasks and then over tasks in order, so they
// don't depend on the number of threads.
#include "models/kernels/causal_conv_raw.h"
#include "models/kernels/cpu/isa.h"

namespace weft::cpu {

inline constexpr int kConvGroup = 128;

template <class S>
void causal_conv(const ConvForward<S>& conv, Isa isa);

template <class S>
void causal_conv(const ConvBackward<S>& conv, Isa isa);

template <class S>
void causal_conv(const ConvStep<S>& conv, Isa isa);

// Bytes that a task of any of them needs as its workspace, aligned to 64, in every version.
int64_t conv_workspace_bytes(int64_t taps, int64_t compute_size);

// One task of a pass, or channels begin .. end - 1 of a step for all rows of the batch, as compiled
// for each instruction set.
#define WEFT_DECLARE_CONV(ISA)                                                                   \
  namespace ISA {                                                                                \
  template <class S>                                                                             \
  void conv_forward_task(const ConvForward<S>& conv, int64_t task, void* workspace);             \
  template <class S>                                                                             \
  void conv_step_channels(const ConvStep<S>& conv, int64_t begin, int64_t end, void* workspace); \
  template <class S>                                                                             \
  void conv_backward_task(const ConvBackward<S>& conv, int64_t task, void* workspace);           \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_CONV)
#undef WEFT_DECLARE_CONV

}  // namespace weft::cpu
