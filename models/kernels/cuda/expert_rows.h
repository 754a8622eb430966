#pragma once
// Raw CUDA kernels of models/kernels/expert_rows.h, instantiated for float, double and Bf16. They
// run on `stream`; all pointers, `pieces` too, are the device's.
#include "models/kernels/cuda/stream.h"
#include "models/kernels/expert_rows_raw.h"

namespace weft::cuda {

template <class S>
void combine_rows(const CombineRows<S>& of, cudaStream_t stream);

template <class S>
void spread_rows(const SpreadRows<S>& of, cudaStream_t stream);

}  // namespace weft::cuda
