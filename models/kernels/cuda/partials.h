#pragma once
// Adding up what the tasks of a backward pass leave behind, on a GPU.
#include "models/kernels/cuda/stream.h"
#include "models/kernels/raw.h"

namespace weft::cuda {

// out[i] = sum over p < count of partials[p * size + i], in the order of p; float, double and Bf16.
template <class S>
void sum_partials(const Compute<S>* partials, int64_t count, int64_t size, S* out,
                  cudaStream_t stream);

}  // namespace weft::cuda
