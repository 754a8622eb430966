#pragma once
// What the CUDA kernels share: conversions, pointwise functions, and checked calls. No LibTorch
// header.
#include <cstdint>

#include <cuda_runtime.h>

#include "base/check.h"
#include "models/kernels/raw.h"

// A CUDA call that must succeed.
#define WEFT_CUDA_CALL(call)                                                            \
  do {                                                                                  \
    const cudaError_t weft_error = (call);                                              \
    WEFT_CHECK(weft_error == cudaSuccess, #call, ": ", cudaGetErrorString(weft_error)); \
  } while (false)

namespace weft::cuda {

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(Bf16 x) { return __uint_as_float(static_cast<uint32_t>(x) << 16); }

__device__ inline void narrow(float x, float* to) { *to = x; }
__device__ inline void narrow(double x, double* to) { *to = x; }
// Rounds to nearest even; a NaN becomes the quiet NaN.
__device__ inline void narrow(float x, Bf16* to) {
  const uint32_t bits = __float_as_uint(x);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  *to = static_cast<Bf16>(x == x ? rounded : 0x7FC0);
}

// What x is after being stored as S.
template <class S>
__device__ Compute<S> through(Compute<S> x) {
  S stored;
  narrow(x, &stored);
  return widen(stored);
}

// Element (b, t, i) of a tensor of rows.
template <class S>
__device__ S* at(const Rows<S>& rows, int64_t b, int64_t t, int64_t i) {
  return rows.data + b * rows.batch_stride + t * rows.row_stride + i;
}

__device__ inline float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }
__device__ inline double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// softplus(x) = log(1 + e^x); x itself above 20.
__device__ inline float softplus(float x) { return x > 20.0F ? x : log1pf(expf(x)); }
__device__ inline double softplus(double x) { return x > 20.0 ? x : log1p(exp(x)); }

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

__device__ inline float inverse_root(float x) { return 1.0F / sqrtf(x); }
__device__ inline double inverse_root(double x) { return 1.0 / sqrt(x); }

// The block's dynamic shared memory, for numbers of any type.
__device__ inline void* dynamic_shared() {
#ifdef WEFT_CUDA_EMULATION  // tests/cuda_emulation
  return emulation::dynamic_shared();
#else
  extern __shared__ double weft_dynamic_shared[];
  return weft_dynamic_shared;
#endif
}

// Starts kernel(arguments...), with so many bytes of dynamic shared memory a block.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  WEFT_CHECK(error == cudaSuccess, __PRETTY_FUNCTION__, ": ", cudaGetErrorString(error));
}

// Blocks along an axis of a grid. What a launch refuses must not wrap around before it gets there.
inline unsigned grid_size(int64_t blocks) {
  constexpr int64_t kMost = 0xFFFFFFFF;
  WEFT_CHECK(blocks >= 0 && blocks <= kMost, "a grid of ", blocks, " blocks");
  return static_cast<unsigned>(blocks);
}

// ceil(a / b)
inline int64_t parts(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace weft::cuda
