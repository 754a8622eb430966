#pragma once
// Raw CUDA kernels of models/kernels/causal_conv.h, instantiated for float, double and Bf16. They
// run on `stream`; at most kConvMaxTaps taps.
#include "models/kernels/causal_conv_raw.h"
#include "models/kernels/cuda/stream.h"

namespace weft::cuda {

inline constexpr int64_t kConvMaxTaps = 128;

template <class S>
void causal_conv(const ConvForward<S>& conv, cudaStream_t stream);

template <class S>
void causal_conv(const ConvBackward<S>& conv, cudaStream_t stream);

}  // namespace weft::cuda
