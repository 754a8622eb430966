#include "tests/cuda_emulation/cuda_runtime.h"

#include <algorithm>
#include <cstdlib>
#include <map>

namespace weft::emulation {
namespace {

// A block's dynamic shared memory: without asking, and at most, on compute capability 8.0, the
// oldest that the kernels need (CUDA C++ programming guide, table of technical specifications).
constexpr size_t kUsualSharedBytes = 48 << 10, kMostSharedBytes = 163 << 10;
constexpr unsigned kMostThreads = 1024, kMostBlocks = 65535;  // blocks: along y and z

std::map<const void*, size_t>& allowed_bytes() {
  static std::map<const void*, size_t> bytes;
  return bytes;
}

bool is_between(unsigned x, unsigned low, unsigned high) { return low <= x && x <= high; }

}  // namespace

cudaError_t allow_shared_bytes(const void* kernel, int bytes) {
  if (bytes < 0 || static_cast<size_t>(bytes) > kMostSharedBytes) return cudaErrorInvalidValue;
  allowed_bytes()[kernel] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

cudaError_t check_launch(const void* kernel, const cudaLaunchConfig_t& config) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  if (!is_between(grid.x, 1, 0x7FFFFFFF) || !is_between(grid.y, 1, kMostBlocks) ||
      !is_between(grid.z, 1, kMostBlocks) || !is_between(block.x, 1, kMostThreads) ||
      !is_between(block.y, 1, kMostThreads) || !is_between(block.z, 1, 64) ||
      block.x * block.y * block.z > kMostThreads) {
    return cudaErrorInvalidConfiguration;
  }
  const auto asked = allowed_bytes().find(kernel);
  const size_t allowed = asked == allowed_bytes().end() ? 0 : asked->second;
  return config.dynamicSmemBytes <= std::max(allowed, kUsualSharedBytes) ? cudaSuccess
                                                                         : cudaErrorInvalidValue;
}

}  // namespace weft::emulation

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
  }
  return "unrecognized error code";
}

cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t) {
  *memory = std::malloc(bytes);
  if (*memory != nullptr) std::memset(*memory, 0xFF, bytes);
  return *memory != nullptr ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
