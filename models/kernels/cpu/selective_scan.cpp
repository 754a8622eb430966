#include "models/kernels/cpu/selective_scan.h"

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/tasks.h"

namespace weft::cpu {
namespace {

// States of a single token that are worth a thread: some 4 microseconds.
constexpr int64_t kStatesOfAThread = 6144;

template <class S>
void scan_step(const ScanForward<S>& scan, Isa isa) {
  const ScanShape& shape = scan.in.shape;
  const auto task = WEFT_KERNEL_FOR(isa, scan_step_task<S>);
  const int64_t states_of_a_task = shape.batch * kScanGroup * shape.states;
  run_tasks(
      scan_groups(shape.channels), scan_step_workspace_bytes(shape.states, sizeof(Compute<S>)),
      [&](int64_t index, void* workspace) { task(scan, index, workspace); },
      /*at_least=*/kStatesOfAThread / states_of_a_task + 1);
}

}  // namespace

int64_t scan_groups(int64_t channels) { return (channels + kScanGroup - 1) / kScanGroup; }

int64_t scan_workspace_bytes(int64_t states, int64_t compute_size) {
  constexpr int64_t kTables = 4, kSteps = 8;                      // of vectors over a group
  constexpr int64_t kBlockBytes = int64_t{kScanChunk} * 16 * 64;  // a block's buffer, at most
  return kScanGroup * compute_size * (kTables * states + kSteps * (kScanChunk + 1)) +
         6 * kBlockBytes;
}

int64_t scan_step_workspace_bytes(int64_t states, int64_t compute_size) {
  const int64_t padded = states * compute_size + 64;  // a row of states in full vectors
  return (kScanGroup + 2) * padded + 2 * kScanGroup * compute_size + 5 * 64;
}

template <class S>
void selective_scan(const ScanForward<S>& scan, Isa isa) {
  const ScanShape& shape = scan.in.shape;
  if (shape.time == 1 && scan.final_state != nullptr) return scan_step(scan, isa);
  const auto task = WEFT_KERNEL_FOR(isa, scan_forward_task<S>);
  run_tasks(shape.batch * scan_groups(shape.channels),
            scan_workspace_bytes(shape.states, sizeof(Compute<S>)),
            [&](int64_t index, void* workspace) { task(scan, index, workspace); });
}

template <class S>
void selective_scan(const ScanBackward<S>& scan, Isa isa) {
  const ScanShape& shape = scan.in.shape;
  const auto task = WEFT_KERNEL_FOR(isa, scan_backward_task<S>);
  run_tasks(shape.batch * scan_groups(shape.channels),
            scan_workspace_bytes(shape.states, sizeof(Compute<S>)),
            [&](int64_t index, void* workspace) { task(scan, index, workspace); });
}

#define WEFT_INSTANTIATE(S)                                    \
  template void selective_scan<S>(const ScanForward<S>&, Isa); \
  template void selective_scan<S>(const ScanBackward<S>&, Isa);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)

}  // namespace weft::cpu
