#pragma once
// Raw CUDA kernels of models/kernels/rotate.h, instantiated for float, double and Bf16. They run on
// `stream`.
#include "models/kernels/cuda/stream.h"
#include "models/kernels/rotate_raw.h"

namespace weft::cuda {

// Rows of partial sums that the backward kernel leaves of the norm's weight's gradient.
int64_t rotate_tasks(const HeadsShape& shape);

template <class S>
void rotate(const HeadRotation<S>& rotation, cudaStream_t stream);

template <class S>
void rotate(const HeadRotationGradients<S>& of, cudaStream_t stream);

}  // namespace weft::cuda
