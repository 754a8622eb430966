#include "models/kernels/cuda/causal_conv.h"
#include "models/kernels/cuda/device.cuh"

namespace weft::cuda {
namespace {

// A block has one tile of time and kChannels channels; thread (channel, row) takes every kRows-th
// token.
constexpr int kChannels = 32, kRows = 8;

// How many tokens back the window of token t reaches inside its document: at most K - 1.
template <class S>
__device__ int window_reach(const ConvInputs<S>& in, int64_t b, int64_t t) {
  const bool* starts = in.starts + b * in.shape.time;
  int reach = 0;
  while (reach < in.shape.taps - 1 && reach < t && !starts[t - reach]) ++reach;
  return reach;
}

// The sum before silu.
template <class S>
__device__ Compute<S> convolve(const ConvInputs<S>& in, int64_t b, int64_t t, int64_t c,
                               int reach) {
  const Compute<S>* last_tap = in.weight + (c + 1) * in.shape.taps - 1;
  Compute<S> sum = in.bias == nullptr ? Compute<S>(0) : in.bias[c];
  for (int j = 0; j <= reach; ++j) sum += last_tap[-j] * widen(*at(in.x, b, t - j, c));
  return sum;
}

// Grid (groups of channels, tiles, Bz), kChannels x kRows threads. Bound by reading x and writing
// y.
template <class S>
__global__ void forward_kernel(ConvForward<S> conv) {
  const ConvShape shape = conv.in.shape;
  const int64_t b = blockIdx.z, c = int64_t{blockIdx.x} * kChannels + threadIdx.x;
  const int64_t t0 = int64_t{blockIdx.y} * kConvSteps;
  if (c >= shape.channels) return;
  for (int i = threadIdx.y; i < kConvSteps && t0 + i < shape.time; i += kRows) {
    const int64_t t = t0 + i;
    const Compute<S> sum = convolve(conv.in, b, t, c, window_reach(conv.in, b, t));
    narrow(sum * sigmoid(sum), at(conv.y, b, t, c));
  }
}

// The tile's gradients before silu and how far its windows reach, with the K - 1 tokens behind it.
template <class C>
struct TileGradient {
  const C* ds;       // [rows, kChannels]
  const int* reach;  // [rows]
  int rows, steps;   // steps: those of the tile itself
};

template <class S>
__device__ void store_dx(const ConvBackward<S>& conv, const TileGradient<Compute<S>>& tile,
                         int64_t b, int64_t t0, int64_t c) {
  const int64_t taps = conv.in.shape.taps;
  const Compute<S>* last_tap = conv.in.weight + (c + 1) * taps - 1;
  for (int i = threadIdx.y; i < tile.steps; i += kRows) {
    Compute<S> sum = 0;
    for (int j = 0; j < taps && i + j < tile.rows && tile.reach[i + j] >= j; ++j) {
      sum += last_tap[-j] * tile.ds[(i + j) * kChannels + threadIdx.x];
    }
    narrow(sum, at(conv.dx, b, t0 + i, c));
  }
}

// Sums over the tile's tokens; tap K stands for the bias.
template <class S>
__device__ void store_parameter_sums(const ConvBackward<S>& conv,
                                     const TileGradient<Compute<S>>& tile, int64_t b, int64_t t0,
                                     int64_t c) {
  const ConvShape& shape = conv.in.shape;
  const int64_t index = b * gridDim.y + blockIdx.y, channel = index * shape.channels + c;
  for (int j = threadIdx.y; j <= shape.taps; j += kRows) {
    Compute<S> sum = 0;
    for (int i = 0; i < tile.steps; ++i) {
      const Compute<S> ds = tile.ds[i * kChannels + threadIdx.x];
      if (j == shape.taps) sum += ds;
      if (j <= tile.reach[i]) sum += ds * widen(*at(conv.in.x, b, t0 + i - j, c));
    }
    if (j == shape.taps) {
      conv.dbias[channel] = sum;
    } else {
      conv.dweight[channel * shape.taps + shape.taps - 1 - j] = sum;
    }
  }
}

// Grid and threads as above; shared memory for a TileGradient. Bound by reading x, dy and writing
// dx.
template <class S>
__global__ void backward_kernel(ConvBackward<S> conv) {
  using C = Compute<S>;
  const ConvShape shape = conv.in.shape;
  const int64_t b = blockIdx.z, c = int64_t{blockIdx.x} * kChannels + threadIdx.x;
  const int64_t t0 = int64_t{blockIdx.y} * kConvSteps, left = shape.time - t0;
  const int64_t wanted = kConvSteps + shape.taps - 1;
  const int rows = static_cast<int>(left < wanted ? left : wanted);
  const int steps = static_cast<int>(left < kConvSteps ? left : kConvSteps);
  C* const ds = static_cast<C*>(dynamic_shared());
  int* const reach = reinterpret_cast<int*>(ds + wanted * kChannels);
  const int thread = threadIdx.y * kChannels + threadIdx.x;
  for (int i = thread; i < rows; i += kChannels * kRows) {
    reach[i] = window_reach(conv.in, b, t0 + i);
  }
  __syncthreads();
  for (int i = threadIdx.y; i < rows && c < shape.channels; i += kRows) {
    const C sum = convolve(conv.in, b, t0 + i, c, reach[i]);
    const C gate = sigmoid(sum);
    ds[i * kChannels + threadIdx.x] =
        widen(*at(conv.dy, b, t0 + i, c)) * gate * (1 + sum * (1 - gate));
  }
  __syncthreads();
  if (c >= shape.channels) return;
  const TileGradient<C> tile{ds, reach, rows, steps};
  store_dx(conv, tile, b, t0, c);
  store_parameter_sums(conv, tile, b, t0, c);
}

dim3 grid_of(const ConvShape& shape) {
  return dim3(grid_size(parts(shape.channels, kChannels)), grid_size(parts(shape.time, kConvSteps)),
              grid_size(shape.batch));
}

// Forward too: what has no backward pass is to be known before one is needed.
void check_taps(const ConvShape& shape) {
  WEFT_CHECK(shape.taps <= kConvMaxTaps, shape.taps, " taps, of at most ", kConvMaxTaps);
}

bool is_empty(const ConvShape& shape) {
  return shape.batch == 0 || shape.time == 0 || shape.channels == 0;
}

}  // namespace

template <class S>
void causal_conv(const ConvForward<S>& conv, cudaStream_t stream) {
  check_taps(conv.in.shape);
  if (is_empty(conv.in.shape)) return;
  launch(forward_kernel<S>, grid_of(conv.in.shape), dim3(kChannels, kRows), 0, stream, conv);
}

template <class S>
void causal_conv(const ConvBackward<S>& conv, cudaStream_t stream) {
  const ConvShape& shape = conv.in.shape;
  check_taps(shape);
  if (is_empty(shape)) return;
  const int64_t rows = kConvSteps + shape.taps - 1;
  const int64_t bytes = rows * (kChannels * sizeof(Compute<S>) + sizeof(int));
  WEFT_CUDA_CALL(cudaFuncSetAttribute(
      backward_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  launch(backward_kernel<S>, grid_of(shape), dim3(kChannels, kRows), bytes, stream, conv);
}

#define WEFT_INSTANTIATE(S)                                          \
  template void causal_conv<S>(const ConvForward<S>&, cudaStream_t); \
  template void causal_conv<S>(const ConvBackward<S>&, cudaStream_t);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)

}  // namespace weft::cuda
