#pragma once
// Raw CUDA kernels of models/kernels/rms_norm.h, instantiated for float, double and Bf16 alone and
// for float with Bf16. They run on `stream`.
#include "models/kernels/cuda/stream.h"
#include "models/kernels/rms_norm_raw.h"

namespace weft::cuda {

// Rows of partial sums that the backward kernel leaves of the weight's gradient.
int64_t rms_norm_tasks(int64_t rows);

template <class S, class Y>
void rms_norm(const NormRows<S, Y>& rows, cudaStream_t stream);

template <class S, class Y>
void rms_norm(const NormGradients<S, Y>& of, cudaStream_t stream);

}  // namespace weft::cuda
