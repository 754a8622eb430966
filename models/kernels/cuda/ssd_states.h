#pragma once
// Raw CUDA kernels of models/kernels/ssd_states.h, instantiated for float and double. They run on
// `stream`.
#include "models/kernels/cuda/stream.h"
#include "models/kernels/ssd_states_raw.h"

namespace weft::cuda {

// A warp takes so many of a head's P N numbers through all chunks.
inline constexpr int64_t kStatesPerPart = 128;

// The parts of a state of `size` numbers.
inline int64_t count_state_parts(int64_t size) {
  return (size + kStatesPerPart - 1) / kStatesPerPart;
}

template <class C>
void pass_states(const SsdStates<C>& of, cudaStream_t stream);

// through is [count_state_parts(size), rows, chunks, heads]: what each part adds to it.
template <class C>
void pass_state_gradients(const SsdStateGradients<C>& grads, cudaStream_t stream);

}  // namespace weft::cuda
