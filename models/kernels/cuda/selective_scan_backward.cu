#include "models/kernels/cuda/selective_scan_steps.cuh"

namespace weft::cuda {
namespace {

// Tokens whose parts of db and dc are in shared memory at a time, one part a warp.
constexpr int kReduceSteps = 8;
constexpr int kWarps = kScanThreads / 32;

template <class C>
struct BackwardShared {
  C delta[kScanCells], u[kScanCells], dy[kScanCells];
  C y[kScanCells], du[kScanCells], da_h[kScanCells];  // sums over states: C h; B g; A dA
  C b[kScanChunk * kScanLanes], c[kScanChunk * kScanLanes];
  C db[kWarps * kReduceSteps * kScanLanes], dc[kWarps * kReduceSteps * kScanLanes];
  bool starts[kScanChunk];
};

// A block's place, and its thread's.
struct Place {
  int64_t b, first, c;
  int lane, channel;
};

template <class S, class C>
__device__ void load_steps(const ScanBackward<S>& scan, const Place& at_, int64_t t0,
                           BackwardShared<C>& shared) {
  const ScanInputs<S>& in = scan.in;
  for_each_cell([&](int cell, int t, int channel) {
    const int64_t c = at_.first + channel;
    const bool inside = t0 + t < in.shape.time && c < in.shape.channels;
    C delta = 0, u = 0, dy = 0;
    if (inside) {
      delta = softplus(widen(*at(in.dt, at_.b, t0 + t, c)) + in.dt_bias[c]);
      u = delta * widen(*at(in.x, at_.b, t0 + t, c));
      const C z = widen(*at(in.z, at_.b, t0 + t, c));
      dy = widen(*at(scan.dy, at_.b, t0 + t, c)) * z * sigmoid(z);
    }
    shared.delta[cell] = delta;
    shared.u[cell] = u;
    shared.dy[cell] = dy;
    shared.y[cell] = shared.du[cell] = shared.da_h[cell] = 0;
  });
}

// Gradients of the chunk from the sums over states; dd and ddt_bias of this thread's cells are
// added to.
template <class S, class C>
__device__ void store_steps(const ScanBackward<S>& scan, const Place& at_, int64_t t0,
                            const BackwardShared<C>& shared, C& dd, C& ddt_bias) {
  const ScanInputs<S>& in = scan.in;
  for_each_cell([&](int cell, int t, int channel) {
    const int64_t c = at_.first + channel;
    if (t0 + t >= in.shape.time || c >= in.shape.channels) return;
    const C x = widen(*at(in.x, at_.b, t0 + t, c)), z = widen(*at(in.z, at_.b, t0 + t, c));
    const C slope = sigmoid(widen(*at(in.dt, at_.b, t0 + t, c)) + in.dt_bias[c]);
    const C gate = sigmoid(z), dout = widen(*at(scan.dy, at_.b, t0 + t, c));
    const C dy = shared.dy[cell];
    const C ddt = (x * shared.du[cell] + shared.da_h[cell]) * slope;
    narrow(dout * (shared.y[cell] + in.d[c] * x) * gate * (1 + z * (1 - gate)),
           at(scan.dz, at_.b, t0 + t, c));
    narrow(in.d[c] * dy + shared.delta[cell] * shared.du[cell], at(scan.dx, at_.b, t0 + t, c));
    narrow(ddt, at(scan.ddt, at_.b, t0 + t, c));
    dd += dy * x;
    ddt_bias += ddt;
  });
}

// Adds up the warps' parts of db and dc of tokens t .. t + kReduceSteps - 1 in their order.
template <class S, class C>
__device__ void store_reduced(const ScanBackward<S>& scan, const Place& at_, int64_t t, int64_t n0,
                              const BackwardShared<C>& shared) {
  constexpr int kSize = kReduceSteps * kScanLanes;
  const ScanShape& shape = scan.in.shape;
  if (threadIdx.x >= 2 * kSize) return;
  const int i = threadIdx.x % kSize;
  const C* warps = threadIdx.x < kSize ? shared.db : shared.dc;
  C sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += warps[w * kSize + i];
  const int64_t token = t + i / kScanLanes, n = n0 + i % kScanLanes;
  if (token >= shape.time || n >= shape.states) return;
  const int64_t row = (int64_t{blockIdx.x} * shape.batch + at_.b) * shape.time + token;
  (threadIdx.x < kSize ? scan.db : scan.dc)[row * shape.states + n] = sum;
}

// One state's walk through a chunk and back. `carry` is the gradient that reaches the state through
// the next one, da the gradient of A.
template <class S, class C>
__device__ void scan_state(const ScanBackward<S>& scan, const Place& at_, int64_t t0, int64_t n0,
                           C a, C entering, BackwardShared<C>& shared, C& carry, C& da) {
  C h[kScanChunk];
#pragma unroll
  for (int t = 0; t < kScanChunk; ++t) {
    const int cell = t * kScanGroup + at_.channel, i = t * kScanLanes + at_.lane;
    const C before = shared.starts[t] ? C(0) : t > 0 ? h[t > 0 ? t - 1 : 0] : entering;
    h[t] = exponential(shared.delta[cell] * a) * before + shared.u[cell] * shared.b[i];
    const C sum = sum_over_lanes(h[t] * shared.c[i]);
    if (at_.lane == 0) shared.y[cell] += sum;
  }
#pragma unroll
  for (int t = kScanChunk - 1; t >= 0; --t) {
    const int cell = t * kScanGroup + at_.channel, i = t * kScanLanes + at_.lane;
    const C before = shared.starts[t] ? C(0) : t > 0 ? h[t > 0 ? t - 1 : 0] : entering;
    const C delta = shared.delta[cell], dy = shared.dy[cell];
    const C g = dy * shared.c[i] + carry;
    carry = shared.starts[t] ? C(0) : exponential(delta * a) * g;
    const C through_decay = carry * before;
    da += through_decay * delta;
    const C du = sum_over_lanes(g * shared.b[i]), da_h = sum_over_lanes(through_decay * a);
    if (at_.lane == 0) shared.du[cell] += du;
    if (at_.lane == 0) shared.da_h[cell] += da_h;
    C db = g * shared.u[cell], dc = dy * h[t];  // summed over the warp's two channels
    db += __shfl_xor_sync(0xFFFFFFFF, db, kScanLanes);
    dc += __shfl_xor_sync(0xFFFFFFFF, dc, kScanLanes);
    if (threadIdx.x % 32 < kScanLanes) {
      const int part = ((threadIdx.x / 32) * kReduceSteps + t % kReduceSteps) * kScanLanes;
      shared.db[part + at_.lane] = db;
      shared.dc[part + at_.lane] = dc;
    }
    if (t % kReduceSteps == 0) {
      __syncthreads();
      store_reduced(scan, at_, t0 + t, n0, shared);
      __syncthreads();
    }
  }
}

// The threads that look after one channel add up their sums over time, in order of threads.
template <class C>
__device__ void store_channel_sum(C value, C* buffer, const Place& at_, const ScanShape& shape,
                                  C* out) {
  buffer[threadIdx.x] = value;
  __syncthreads();
  if (threadIdx.x < kScanGroup && at_.first + threadIdx.x < shape.channels) {
    C sum = 0;
    for (int i = threadIdx.x; i < kScanThreads; i += kScanGroup) sum += buffer[i];
    out[at_.b * shape.channels + at_.first + threadIdx.x] = sum;
  }
  __syncthreads();
}

// Grid (groups, Bz), kScanThreads threads, sizeof(BackwardShared) bytes of shared memory. Bound by
// the exponentials (two a state and token) and the shuffles.
template <class S>
__global__ void __launch_bounds__(kScanThreads) backward_kernel(ScanBackward<S> scan) {
  using C = Compute<S>;
  auto& shared = *static_cast<BackwardShared<C>*>(dynamic_shared());
  const ScanShape shape = scan.in.shape;
  const int64_t first = int64_t{blockIdx.x} * kScanGroup;
  const int channel = threadIdx.x / kScanLanes;
  const Place at_{blockIdx.y, first, first + channel, static_cast<int>(threadIdx.x) % kScanLanes,
                  channel};
  const int64_t chunks = (shape.time + kScanChunk - 1) / kScanChunk;
  const int64_t row = (at_.b * shape.channels + at_.c) * shape.states;
  C dd = 0, ddt_bias = 0;

  for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
    const int64_t t0 = chunk * kScanChunk;
    const bool last = chunk == chunks - 1;
    load_steps(scan, at_, t0, shared);
    load_starts(scan.in, at_.b, t0, shared.starts);
    for (int64_t n0 = 0; n0 < shape.states; n0 += kScanLanes) {
      const int64_t n = n0 + at_.lane;
      const bool inside = at_.c < shape.channels && n < shape.states;
      load_block(scan.in, at_.b, t0, n0, shared.b, shared.c);
      __syncthreads();
      const C a = inside ? -exponential(scan.in.a_log[at_.c * shape.states + n]) : C(0);
      const C entering =
          inside ? scan.entering[entering_index(shape, at_.b, chunk, n, at_.c)] : C(0);
      C carry = inside && !last ? scan.carries[row + n] : C(0);
      C da = inside && !last ? scan.da_log[row + n] : C(0);
      scan_state(scan, at_, t0, n0, a, entering, shared, carry, da);
      if (inside) scan.carries[row + n] = carry;
      if (inside) scan.da_log[row + n] = chunk == 0 ? da * a : da;
    }
    __syncthreads();
    store_steps(scan, at_, t0, shared, dd, ddt_bias);
    __syncthreads();
  }
  store_channel_sum(dd, shared.delta, at_, shape, scan.dd);
  store_channel_sum(ddt_bias, shared.delta, at_, shape, scan.ddt_bias);
}

}  // namespace

template <class S>
void selective_scan(const ScanBackward<S>& scan, cudaStream_t stream) {
  using C = Compute<S>;
  const ScanShape& shape = scan.in.shape;
  const int64_t parameters = shape.batch * shape.channels * shape.states;
  if (shape.batch == 0 || shape.channels == 0) return;
  if (shape.time == 0 && parameters > 0) {
    WEFT_CUDA_CALL(cudaMemsetAsync(scan.da_log, 0, parameters * sizeof(C), stream));
  }
  constexpr int kShared = sizeof(BackwardShared<C>);
  WEFT_CUDA_CALL(cudaFuncSetAttribute(backward_kernel<S>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
  const dim3 grid(grid_size(parts(shape.channels, kScanGroup)), grid_size(shape.batch));
  launch(backward_kernel<S>, grid, kScanThreads, kShared, stream, scan);
}

template void selective_scan<float>(const ScanBackward<float>&, cudaStream_t);
template void selective_scan<double>(const ScanBackward<double>&, cudaStream_t);
template void selective_scan<Bf16>(const ScanBackward<Bf16>&, cudaStream_t);

}  // namespace weft::cuda
