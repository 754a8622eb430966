#include "models/kernels/cuda/block_sum.cuh"
#include "models/kernels/cuda/ssd_states.h"

namespace weft::cuda {
namespace {

constexpr int kLanes = kWarp, kWarps = 8;  // of a warp, of a block
constexpr int kPerLane = kStatesPerPart / kLanes;

// The numbers of this lane: kPerLane, kLanes apart, less those beyond the head's last.
template <class C>
struct LaneStates {
  C values[kPerLane];

  // `left`: how many of the head's numbers there are from this lane's first on, which is *from.
  __device__ void load(const C* from, int64_t left) {
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) values[j] = j * kLanes < left ? from[j * kLanes] : C(0);
  }
  __device__ void store(C* to, int64_t left) const {
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      if (j * kLanes < left) to[j * kLanes] = values[j];
    }
  }
};

enum class Direction { kForward, kBackward };

// A warp for each part of each head of each row, kWarps a block. Bound by reading what the chunks
// add (backward also the entering states) and writing what enters them: what the next chunk adds is
// read before this one's is overwritten.
template <class C, Direction kDirection>
__global__ void pass_kernel(SsdStateGradients<C> grads, int64_t parts) {
  const SsdStates<C>& of = grads.of;
  const int lane = threadIdx.x % kLanes;
  const int64_t warp = int64_t{blockIdx.x} * kWarps + threadIdx.x / kLanes;
  const int64_t part = warp % parts, head = warp / parts % of.heads, row = warp / parts / of.heads;
  if (row >= of.rows) return;  // with all lanes of the warp
  const int64_t first = part * kStatesPerPart + lane, left = of.size - first;
  const auto chunk_at = [&](int64_t i) {
    return kDirection == Direction::kForward ? i : of.chunks - 1 - i;
  };
  const auto offset = [&](int64_t chunk) {
    return ((row * of.chunks + chunk) * of.heads + head) * of.size + first;
  };
  C* const state_from = of.state + (row * of.heads + head) * of.size + first;
  LaneStates<C> state, next, next_entering = {};
  const auto load_next = [&](int64_t chunk) {
    next.load(of.states + offset(chunk), left);
    if constexpr (kDirection == Direction::kBackward) {
      next_entering.load(grads.entering + offset(chunk), left);
    }
  };
  state.load(state_from, left);
  load_next(chunk_at(0));
  for (int64_t i = 0; i < of.chunks; ++i) {
    const int64_t chunk = chunk_at(i);
    const LaneStates<C> added = next, entering = next_entering;
    if (i + 1 < of.chunks) load_next(chunk_at(i + 1));
    const C carry = of.carry[row * of.carry_row + chunk * of.carry_chunk + head * of.carry_head];
    state.store(of.states + offset(chunk), left);
    if constexpr (kDirection == Direction::kBackward) {
      C sum = 0;
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) sum += state.values[j] * entering.values[j];
      sum = sum_over_warp(sum);
      if (lane == 0) {
        grads.through[((part * of.rows + row) * of.chunks + chunk) * of.heads + head] = carry * sum;
      }
    }
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      state.values[j] = carry * state.values[j] + added.values[j];
    }
  }
  state.store(state_from, left);
}

template <class C, Direction kDirection>
void pass(const SsdStateGradients<C>& grads, cudaStream_t stream) {
  const SsdStates<C>& of = grads.of;
  const int64_t parts_of_head = count_state_parts(of.size);
  const int64_t warps = of.rows * of.heads * parts_of_head;
  if (warps == 0 || of.chunks == 0) return;
  const auto blocks = grid_size(parts(warps, kWarps));
  launch(pass_kernel<C, kDirection>, blocks, kWarps * kLanes, 0, stream, grads, parts_of_head);
}

}  // namespace

template <class C>
void pass_states(const SsdStates<C>& of, cudaStream_t stream) {
  pass<C, Direction::kForward>({of, nullptr, nullptr}, stream);
}

template <class C>
void pass_state_gradients(const SsdStateGradients<C>& grads, cudaStream_t stream) {
  pass<C, Direction::kBackward>(grads, stream);
}

template void pass_states<float>(const SsdStates<float>&, cudaStream_t);
template void pass_states<double>(const SsdStates<double>&, cudaStream_t);
template void pass_state_gradients<float>(const SsdStateGradients<float>&, cudaStream_t);
template void pass_state_gradients<double>(const SsdStateGradients<double>&, cudaStream_t);

}  // namespace weft::cuda
