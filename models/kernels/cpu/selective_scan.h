#pragma once
// Raw CPU kernels of models/kernels/selective_scan.h. Channels are cut into groups of kScanGroup; a
// (row of the batch, group) is one task. Sums over channels or over rows of the batch are made
// inside tasks and then over tasks in order, so they don't depend on the number of threads.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/selective_scan_raw.h"

namespace weft::cpu {

inline constexpr int kScanGroup = 128;

int64_t scan_groups(int64_t channels);

// A single token with a final_state has kernels of its own.
template <class S>
void selective_scan(const ScanForward<S>& scan, Isa isa);

template <class S>
void selective_scan(const ScanBackward<S>& scan, Isa isa);

// Bytes that a task of either pass needs as its workspace, aligned to 64, in every version.
int64_t scan_workspace_bytes(int64_t states, int64_t compute_size);

// The same for the task of a single token.
int64_t scan_step_workspace_bytes(int64_t states, int64_t compute_size);

// One task of a pass, as compiled for each instruction set. A step's task is a group of channels
// for all rows of the batch.
#define WEFT_DECLARE_SCAN(ISA)                                                         \
  namespace ISA {                                                                      \
  template <class S>                                                                   \
  void scan_forward_task(const ScanForward<S>& scan, int64_t task, void* workspace);   \
  template <class S>                                                                   \
  void scan_step_task(const ScanForward<S>& scan, int64_t task, void* workspace);      \
  template <class S>                                                                   \
  void scan_backward_task(const ScanBackward<S>& scan, int64_t task, void* workspace); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_SCAN)
#undef WEFT_DECLARE_SCAN

}  // namespace weft::cpu
