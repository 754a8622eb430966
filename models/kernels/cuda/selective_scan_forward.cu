#include "models/kernels/cuda/selective_scan_steps.cuh"

namespace weft::cuda {
namespace {

template <class C>
struct ForwardShared {
  C delta[kScanCells], u[kScanCells], y[kScanCells];
  C b[kScanChunk * kScanLanes], c[kScanChunk * kScanLanes];
  bool starts[kScanChunk];
};

template <class S, class C>
__device__ void load_steps(const ScanInputs<S>& in, int64_t b, int64_t t0, int64_t first,
                           ForwardShared<C>& shared) {
  for_each_cell([&](int cell, int t, int channel) {
    const int64_t c = first + channel;
    const bool inside = t0 + t < in.shape.time && c < in.shape.channels;
    const C delta = inside ? softplus(widen(*at(in.dt, b, t0 + t, c)) + in.dt_bias[c]) : C(0);
    shared.delta[cell] = delta;
    shared.u[cell] = inside ? delta * widen(*at(in.x, b, t0 + t, c)) : C(0);
    shared.y[cell] = 0;
  });
}

template <class S, class C>
__device__ void store_steps(const ScanForward<S>& scan, int64_t b, int64_t t0, int64_t first,
                            const ForwardShared<C>& shared) {
  const ScanInputs<S>& in = scan.in;
  for_each_cell([&](int cell, int t, int channel) {
    const int64_t c = first + channel;
    if (t0 + t >= in.shape.time || c >= in.shape.channels) return;
    const C x = widen(*at(in.x, b, t0 + t, c)), z = widen(*at(in.z, b, t0 + t, c));
    narrow((shared.y[cell] + in.d[c] * x) * z * sigmoid(z), at(scan.y, b, t0 + t, c));
  });
}

// The state that enters a chunk; that of chunk 0 is written to `entering`, where the backward pass
// looks for it.
template <class S, class C = Compute<S>>
__device__ C entering_state(const ScanForward<S>& scan, int64_t b, int64_t chunk, int64_t n,
                            int64_t c) {
  const ScanShape& shape = scan.in.shape;
  C& entering = scan.entering[entering_index(shape, b, chunk, n, c)];
  if (chunk == 0) {
    const C* initial = scan.initial_state;
    entering = initial == nullptr ? C(0) : initial[(b * shape.channels + c) * shape.states + n];
  }
  return entering;
}

// Grid (groups, Bz), kScanThreads threads. Bound by the exponentials and the shuffles of the sum
// over states; states travel from chunk to chunk through `entering`.
template <class S>
__global__ void forward_kernel(ScanForward<S> scan) {
  using C = Compute<S>;
  __shared__ ForwardShared<C> shared;
  const ScanShape shape = scan.in.shape;
  const int lane = threadIdx.x % kScanLanes, channel = threadIdx.x / kScanLanes;
  const int64_t b = blockIdx.y, first = int64_t{blockIdx.x} * kScanGroup, c = first + channel;
  const int64_t chunks = (shape.time + kScanChunk - 1) / kScanChunk;

  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t t0 = chunk * kScanChunk;
    load_steps(scan.in, b, t0, first, shared);
    load_starts(scan.in, b, t0, shared.starts);
    for (int64_t n0 = 0; n0 < shape.states; n0 += kScanLanes) {
      const int64_t n = n0 + lane;
      const bool inside = c < shape.channels && n < shape.states;
      load_block(scan.in, b, t0, n0, shared.b, shared.c);
      __syncthreads();
      const C a = inside ? -exponential(scan.in.a_log[c * shape.states + n]) : C(0);
      C h = inside ? entering_state(scan, b, chunk, n, c) : C(0);
      for (int t = 0; t < kScanChunk; ++t) {
        const int cell = t * kScanGroup + channel;
        if (shared.starts[t]) h = 0;
        h = exponential(shared.delta[cell] * a) * h +
            shared.u[cell] * shared.b[t * kScanLanes + lane];
        const C sum = sum_over_lanes(h * shared.c[t * kScanLanes + lane]);
        if (lane == 0) shared.y[cell] += sum;
      }
      if (inside && chunk + 1 < chunks) {
        scan.entering[entering_index(shape, b, chunk + 1, n, c)] = h;
      } else if (inside && scan.final_state != nullptr) {
        scan.final_state[(b * shape.channels + c) * shape.states + n] = h;
      }
      __syncthreads();
    }
    __syncthreads();
    store_steps(scan, b, t0, first, shared);
    __syncthreads();
  }
}

// A single token with a final_state, for decoding: the same grid and threads, without shared memory
// or barriers. Bound by reading a_log and the state and writing it.
template <class S>
__global__ void step_kernel(ScanForward<S> scan) {
  using C = Compute<S>;
  const ScanInputs<S>& in = scan.in;
  const ScanShape& shape = in.shape;
  const int lane = threadIdx.x % kScanLanes;
  const int64_t b = blockIdx.y;
  const int64_t c = int64_t{blockIdx.x} * kScanGroup + threadIdx.x / kScanLanes;
  const bool inside = c < shape.channels;
  const C x = inside ? widen(*at(in.x, b, 0, c)) : C(0);
  const C delta = inside ? softplus(widen(*at(in.dt, b, 0, c)) + in.dt_bias[c]) : C(0);
  const bool from_zero = scan.initial_state == nullptr || in.starts[b];
  C sum = 0;
  for (int64_t n = lane; inside && n < shape.states; n += kScanLanes) {
    const int64_t i = (b * shape.channels + c) * shape.states + n;
    const C a = -exponential(in.a_log[c * shape.states + n]);
    const C before = from_zero ? C(0) : scan.initial_state[i];
    const C h = exponential(delta * a) * before + delta * x * widen(*at(in.b, b, 0, n));
    scan.final_state[i] = h;
    sum += h * widen(*at(in.c, b, 0, n));
  }
  sum = sum_over_lanes(sum);
  if (!inside || lane > 0) return;
  const C z = widen(*at(in.z, b, 0, c));
  narrow((sum + in.d[c] * x) * z * sigmoid(z), at(scan.y, b, 0, c));
}

}  // namespace

template <class S>
void selective_scan(const ScanForward<S>& scan, cudaStream_t stream) {
  const ScanShape& shape = scan.in.shape;
  if (shape.batch == 0 || shape.channels == 0) return;
  const dim3 grid(grid_size(parts(shape.channels, kScanGroup)), grid_size(shape.batch));
  if (shape.time == 1 && scan.final_state != nullptr) {
    launch(step_kernel<S>, grid, kScanThreads, 0, stream, scan);
    return;
  }
  launch(forward_kernel<S>, grid, kScanThreads, 0, stream, scan);
}

template void selective_scan<float>(const ScanForward<float>&, cudaStream_t);
template void selective_scan<double>(const ScanForward<double>&, cudaStream_t);
template void selective_scan<Bf16>(const ScanForward<Bf16>&, cudaStream_t);

}  // namespace weft::cuda
