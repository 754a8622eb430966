#pragma once
// Raw CUDA kernels of models/kernels/sum_of_squares.h, instantiated for float and double.
#include <cstdint>
#include <vector>

#include "models/kernels/cuda/stream.h"

namespace weft::cuda {

// How many partial sums tensors of these sizes, in elements, leave.
int64_t count_partial_squares(const std::vector<int64_t>& sizes);

// The sum of the squares of all tensors of these sizes, in fp64 and always in the same order.
// partials [count_partial_squares(sizes)] is scratch; total [1].
template <class C>
void sum_of_squares(const std::vector<const C*>& tensors, const std::vector<int64_t>& sizes,
                    double* partials, double* total, cudaStream_t stream);

}  // namespace weft::cuda
