#pragma once
// Raw CUDA kernel of models/kernels/adamw.h, instantiated for float and double.
#include <vector>

#include "models/kernels/adamw_raw.h"
#include "models/kernels/cuda/stream.h"

namespace weft::cuda {

// Updates parameters of these sizes, in elements, a launch for every 64.
template <class C>
void adamw(const AdamWUpdate<C>& update, const std::vector<AdamWValues<C>>& parameters,
           const std::vector<int64_t>& sizes, cudaStream_t stream);

}  // namespace weft::cuda
