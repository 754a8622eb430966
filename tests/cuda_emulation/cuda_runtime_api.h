#pragma once
// In place of the CUDA runtime's header of this name, for kernels that run on the CPU: what weft's
// kernels use of it. Streams are in order, and calls return when all is done.
#include <cstddef>

using cudaStream_t = struct CUstream_st*;

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorInvalidConfiguration };
const char* cudaGetErrorString(cudaError_t error);

// New memory is all ones in binary.
cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream);
