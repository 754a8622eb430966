#pragma once
// Raw CUDA kernels of models/kernels/selective_scan.h, instantiated for float, double and Bf16.
// They run on `stream` and need compute capability 8.0.
#include "models/kernels/cuda/stream.h"
#include "models/kernels/selective_scan_raw.h"

namespace weft::cuda {

// Channels in a group: db and dc are summed inside groups first.
inline constexpr int kScanGroup = 32;

// `entering` must not be null but for a single token with a final_state, which has a kernel of its
// own.
template <class S>
void selective_scan(const ScanForward<S>& scan, cudaStream_t stream);

template <class S>
void selective_scan(const ScanBackward<S>& scan, cudaStream_t stream);

}  // namespace weft::cuda
