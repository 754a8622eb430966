#pragma once
// The shape of the scan's thread blocks. A block has one group of channels of one row of the batch
// and walks its chunks of time; thread (lane, channel) has one state of a block of kScanLanes
// states. Sums over states are shuffles among the lanes of a channel. Token- and channel-wise
// values of a chunk are in shared memory as [kScanChunk, kScanGroup]; tokens behind the end have
// delta = u = 0, which leaves states as they are.
#include "models/kernels/cuda/device.cuh"
#include "models/kernels/cuda/selective_scan.h"

namespace weft::cuda {

constexpr int kScanLanes = 16;
constexpr int kScanThreads = kScanLanes * kScanGroup;
constexpr int kScanCells = kScanChunk * kScanGroup;

// The sum over the lanes of a channel, in all of them.
template <class C>
__device__ C sum_over_lanes(C x) {
#pragma unroll
  for (int i = kScanLanes / 2; i > 0; i /= 2) x += __shfl_xor_sync(0xFFFFFFFF, x, i, kScanLanes);
  return x;
}

// f(cell, t, channel) for the cells of a chunk that this thread looks after; the channel is always
// the same one. Neighbouring threads have neighbouring channels.
template <class F>
__device__ void for_each_cell(const F& f) {
  for (int i = threadIdx.x; i < kScanCells; i += kScanThreads) f(i, i / kScanGroup, i % kScanGroup);
}

// b and c of a chunk, states n0 .. n0 + kScanLanes - 1, 0 outside the tensors; [kScanChunk,
// kScanLanes].
template <class S>
__device__ void load_block(const ScanInputs<S>& in, int64_t b, int64_t t0, int64_t n0,
                           Compute<S>* bs, Compute<S>* cs) {
  for (int i = threadIdx.x; i < kScanChunk * kScanLanes; i += kScanThreads) {
    const int64_t t = t0 + i / kScanLanes, n = n0 + i % kScanLanes;
    const bool inside = t < in.shape.time && n < in.shape.states;
    bs[i] = inside ? widen(*at(in.b, b, t, n)) : Compute<S>(0);
    cs[i] = inside ? widen(*at(in.c, b, t, n)) : Compute<S>(0);
  }
}

// starts of a chunk; none behind the end.
template <class S>
__device__ void load_starts(const ScanInputs<S>& in, int64_t b, int64_t t0, bool* starts) {
  if (threadIdx.x < kScanChunk) {
    const int64_t t = t0 + threadIdx.x;
    starts[threadIdx.x] = t < in.shape.time && in.starts[b * in.shape.time + t];
  }
}

// The place of the state that enters chunk `chunk`.
__device__ inline int64_t entering_index(const ScanShape& shape, int64_t b, int64_t chunk,
                                         int64_t n, int64_t channel) {
  const int64_t chunks = (shape.time + kScanChunk - 1) / kScanChunk;
  return ((b * chunks + chunk) * shape.states + n) * shape.channels + channel;
}

}  // namespace weft::cuda
