#pragma once
// Raw CUDA kernel of models/kernels/cross_entropy.h, instantiated for float, double and Bf16. A row
// whose target is not below vocab becomes NaN: nll, penalty and gradient.
#include "models/kernels/cross_entropy_raw.h"
#include "models/kernels/cuda/stream.h"

namespace weft::cuda {

template <class S>
void cross_entropy(const CrossEntropyRows<S>& rows, cudaStream_t stream);

}  // namespace weft::cuda
