#include <algorithm>

#include "models/kernels/cuda/block_sum.cuh"
#include "models/kernels/cuda/rotate.h"

namespace weft::cuda {
namespace {

constexpr int kWarps = 8;  // of a block
constexpr int kThreads = kWarps * kWarp;
constexpr int64_t kMaxTasks = 8192;  // warps: enough for every multiprocessor

// Head number `index` of all rows, tokens and heads.
struct Place {
  int64_t b, t, h;
};
__device__ Place place_of(const HeadsShape& shape, int64_t index) {
  const int64_t token = index / shape.heads;
  return {token / shape.time, token % shape.time, index % shape.heads};
}

template <class S>
__device__ S* head_of(const HeadRows<S>& of, const Place& p, int64_t h) {
  return of.data + p.b * of.batch_stride + p.t * of.token_stride + h * of.head_stride;
}

// The scale of the norm of x [width], in all lanes of the warp.
template <class S>
__device__ Compute<S> head_scale(const S* x, int64_t width, double eps, int lane) {
  using C = Compute<S>;
  C squares = 0;
  for (int64_t i = lane; i < width; i += kWarp) squares += widen(x[i]) * widen(x[i]);
  const C mean = sum_over_warp(squares) / static_cast<C>(width);
  return inverse_root(mean + static_cast<C>(eps));
}

__device__ int64_t warp_index() { return int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; }

// A warp a head, a lane a pair of channels at a time. Bound by reading x and writing y.
template <class S>
__global__ void forward_kernel(HeadRotation<S> of, int64_t heads) {
  using C = Compute<S>;
  const int64_t index = warp_index();
  if (index >= heads) return;  // the whole warp
  const int lane = threadIdx.x % kWarp;
  const int64_t width = of.shape.width, half = width / 2;
  const Place p = place_of(of.shape, index);
  const S* const x = head_of(of.x, p, p.h);
  const S *cos = head_of(of.cos, p, 0), *sin = head_of(of.sin, p, 0);
  S* const y = of.y + index * width;
  const bool norm = of.norm.weight != nullptr;
  const C scale = norm ? head_scale(x, width, of.norm.eps, lane) : C(1);
  const auto value = [&](int64_t i) {
    if (!norm) return widen(x[i]);
    return through<S>(through<S>(widen(x[i]) * scale) * through<S>(of.norm.weight[i]));
  };
  const S *sin_a = sin + (of.backward ? half : 0), *sin_b = sin + (of.backward ? 0 : half);
  for (int64_t i = lane; i < half; i += kWarp) {
    const C a = value(i), b = value(half + i);
    narrow(a * widen(cos[i]) + b * widen(sin_a[i]), y + i);
    narrow(b * widen(cos[half + i]) + a * widen(sin_b[i]), y + half + i);
  }
}

// Bound by reading x and dy and writing dx. A warp a task: heads task, task + tasks, .. . Lane l
// has channels l, l + kWarp, .. of each half of the task's row of partial sums to itself.
template <class S>
__global__ void backward_kernel(HeadRotationGradients<S> of, int64_t heads, int64_t tasks) {
  using C = Compute<S>;
  const int64_t task = warp_index();
  if (task >= tasks) return;  // the whole warp
  const int lane = threadIdx.x % kWarp;
  const int64_t width = of.shape.width, half = width / 2;
  C* const dweight = of.dweight + task * width;
  for (int64_t i = lane; i < half; i += kWarp) dweight[i] = dweight[half + i] = 0;
  for (int64_t index = task; index < heads; index += tasks) {
    const Place p = place_of(of.shape, index);
    const S *x = head_of(of.x, p, p.h), *dy = head_of(of.dy, p, p.h);
    const S *cos = head_of(of.cos, p, 0), *sin = head_of(of.sin, p, 0);
    S* const dx = of.dx + index * width;
    const C scale = head_scale(x, width, of.norm.eps, lane);
    // f(channel, gradient of the norm there) for the lane's channels.
    const auto for_gradients = [&](const auto& f) {
      for (int64_t i = lane; i < half; i += kWarp) {
        const C a = widen(dy[i]), b = widen(dy[half + i]);
        f(i, a * widen(cos[i]) + b * widen(sin[half + i]));
        f(half + i, b * widen(cos[half + i]) + a * widen(sin[i]));
      }
    };
    C products = 0;
    for_gradients(
        [&](int64_t i, C d) { products += d * through<S>(of.norm.weight[i]) * widen(x[i]); });
    const C mean = sum_over_warp(products) / static_cast<C>(width);
    const C slope = mean * scale * scale;
    for_gradients([&](int64_t i, C d) {
      const C v = widen(x[i]);
      dweight[i] += d * through<S>(v * scale);
      narrow(scale * (d * through<S>(of.norm.weight[i]) - v * slope), dx + i);
    });
  }
}

int64_t count_heads(const HeadsShape& shape) { return shape.batch * shape.time * shape.heads; }

unsigned blocks_of(int64_t warps) { return grid_size(parts(warps, kWarps)); }

}  // namespace

int64_t rotate_tasks(const HeadsShape& shape) { return std::min(count_heads(shape), kMaxTasks); }

template <class S>
void rotate(const HeadRotation<S>& rotation, cudaStream_t stream) {
  const int64_t heads = count_heads(rotation.shape);
  if (heads == 0) return;
  launch(forward_kernel<S>, blocks_of(heads), kThreads, 0, stream, rotation, heads);
}

template <class S>
void rotate(const HeadRotationGradients<S>& of, cudaStream_t stream) {
  const int64_t heads = count_heads(of.shape), tasks = rotate_tasks(of.shape);
  if (heads == 0) return;
  launch(backward_kernel<S>, blocks_of(tasks), kThreads, 0, stream, of, heads, tasks);
}

#define WEFT_INSTANTIATE(S)                                      \
  template void rotate<S>(const HeadRotation<S>&, cudaStream_t); \
  template void rotate<S>(const HeadRotationGradients<S>&, cudaStream_t);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)

}  // namespace weft::cuda
