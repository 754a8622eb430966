#pragma once
// In place of the CUDA runtime's header of this name: the part of the language and of the runtime
// that weft's kernels use, for a C++ compiler. Read emulated_block.h first.
#define WEFT_CUDA_EMULATION  // for models/kernels/cuda/device.cuh

#include <cstdint>
#include <cstring>
#include <tuple>

#include <math.h>  // with overloads for float outside of std, as in CUDA

#include "base/check.h"
#include "tests/cuda_emulation/cuda_runtime_api.h"
#include "tests/cuda_emulation/emulated_block.h"

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(threads)
#define __shared__ static thread_local  // emulated_block.cpp fills it before each block

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
};
inline dim3 gridDim, blockDim, blockIdx, threadIdx;

inline void __syncthreads() { weft::emulation::wait_for_block(); }

template <class T>
T __shfl_xor_sync(unsigned lanes, T x, unsigned mask, unsigned width = 32) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  WEFT_CHECK(lanes == 0xFFFFFFFF && mask < width && width <= 32, "shuffle by ", mask, " of ",
             width);
  uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof(T));
  bits = weft::emulation::exchange(bits, mask);
  std::memcpy(&x, &bits, sizeof(T));
  return x;
}

inline float __uint_as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}
inline uint32_t __float_as_uint(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(x));
  return bits;
}

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

namespace weft::emulation {
cudaError_t allow_shared_bytes(const void* kernel, int bytes);
cudaError_t check_launch(const void* kernel, const cudaLaunchConfig_t& config);
}  // namespace weft::emulation

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int value) {
  return weft::emulation::allow_shared_bytes(reinterpret_cast<const void*>(kernel), value);
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  static_assert((sizeof(Parameters) + ... + 0) <= 4096);
  const cudaError_t error =
      weft::emulation::check_launch(reinterpret_cast<const void*>(kernel), *config);
  if (error != cudaSuccess) return error;
  const std::tuple<Parameters...> parameters(arguments...);
  const dim3 grid = config->gridDim, block = config->blockDim;
  weft::emulation::run_grid({grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
                            config->dynamicSmemBytes, [&] { std::apply(kernel, parameters); });
  return cudaSuccess;
}
