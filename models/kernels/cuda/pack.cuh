#pragma once
// Several neighbouring numbers in one access to memory.
#include "models/kernels/cuda/device.cuh"

namespace weft::cuda {

constexpr int kPackBytes = 16;  // the widest access of a thread

// How many numbers stored as S it takes.
template <class S>
constexpr int kPackSize = kPackBytes / static_cast<int>(sizeof(S));

template <class S, int kCount>
struct alignas(kCount * sizeof(S)) Pack {
  S values[kCount];
};

__host__ __device__ inline bool is_aligned(const void* p, int bytes = kPackBytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

// Both need an address that is a multiple of the pack's size.
template <int kCount, class S>
__device__ Pack<S, kCount> load_pack(const S* from) {
  return *reinterpret_cast<const Pack<S, kCount>*>(from);
}
template <int kCount, class S>
__device__ void store_pack(const Pack<S, kCount>& pack, S* to) {
  *reinterpret_cast<Pack<S, kCount>*>(to) = pack;
}

}  // namespace weft::cuda
