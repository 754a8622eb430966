#include "models/kernels/cuda/device.cuh"
#include "models/kernels/cuda/partials.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;

// One thread an element of out, kThreads a block. Bound by reading the partial sums.
template <class S>
__global__ void sum_kernel(const Compute<S>* partials, int64_t count, int64_t size, S* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= size) return;
  Compute<S> sum = 0;
  for (int64_t p = 0; p < count; ++p) sum += partials[p * size + i];
  narrow(sum, out + i);
}

}  // namespace

template <class S>
void sum_partials(const Compute<S>* partials, int64_t count, int64_t size, S* out,
                  cudaStream_t stream) {
  if (size == 0) return;
  const auto blocks = grid_size(parts(size, kThreads));
  launch(sum_kernel<S>, blocks, kThreads, 0, stream, partials, count, size, out);
}

template void sum_partials<float>(const float*, int64_t, int64_t, float*, cudaStream_t);
template void sum_partials<double>(const double*, int64_t, int64_t, double*, cudaStream_t);
template void sum_partials<Bf16>(const float*, int64_t, int64_t, Bf16*, cudaStream_t);

}  // namespace weft::cuda
