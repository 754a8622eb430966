#pragma once
// Raw CUDA kernels of models/kernels/silu_mul.h, instantiated for float, double and Bf16. They run
// on `stream`.
#include "models/kernels/cuda/stream.h"
#include "models/kernels/silu_mul_raw.h"

namespace weft::cuda {

template <class S>
void silu_mul(const SiluMulForward<S>& pass, cudaStream_t stream);

template <class S>
void silu_mul(const SiluMulBackward<S>& pass, cudaStream_t stream);

}  // namespace weft::cuda
