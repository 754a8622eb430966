#pragma once
// Sums over the threads of a warp and of a block, always in the same order.
#include "models/kernels/cuda/device.cuh"

namespace weft::cuda {

constexpr int kWarp = 32;

// In all lanes of the warp.
template <class C>
__device__ C sum_over_warp(C x) {
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) x += __shfl_xor_sync(0xFFFFFFFF, x, i);
  return x;
}

// In all threads of a block of whole warps in one row, which all call it: MostThreads at most.
template <int MostThreads, class C>
__device__ C sum_over_block(C x) {
  __shared__ C sums[MostThreads / kWarp];
  x = sum_over_warp(x);
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = x;
  __syncthreads();
  C total = 0;
  for (int i = 0; i < static_cast<int>(blockDim.x) / kWarp; ++i) total += sums[i];
  return total;
}

}  // namespace weft::cuda
