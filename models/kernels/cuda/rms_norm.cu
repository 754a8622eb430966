#include <algorithm>

#include "models/kernels/cuda/block_sum.cuh"
#include "models/kernels/cuda/rms_norm.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxTasks = 1024;     // several blocks for every multiprocessor
constexpr int64_t kMinRowsPerTask = 8;  // so that partial sums are an eighth of dx at most

int64_t rows_per_task(int64_t rows) { return std::max(parts(rows, kMaxTasks), kMinRowsPerTask); }

// A block a row. Bound by reading x and what is added, and writing the sum and y. Every thread
// reads back only what it wrote itself.
template <class S, class Y>
__global__ void forward_kernel(NormRows<S, Y> of) {
  using C = Compute<S>;
  const int64_t row = blockIdx.x;
  const S* x = of.x + row * of.x_stride;
  C squares = 0;
  for (int64_t i = threadIdx.x; i < of.width; i += kThreads) {
    C v = widen(x[i]);
    if (of.added != nullptr) {
      S* const to = of.sum + row * of.width + i;
      narrow(v + widen(of.added[row * of.width + i]), to);
      v = widen(*to);
    }
    squares += v * v;
  }
  if (of.added != nullptr) x = of.sum + row * of.width;
  const C mean = sum_over_block<kThreads>(squares) / static_cast<C>(of.width);
  const C scale = inverse_root(mean + static_cast<C>(of.eps));
  for (int64_t i = threadIdx.x; i < of.width; i += kThreads) {
    const C normed = through<S>(widen(x[i]) * scale);
    narrow(normed * through<S>(of.weight[i]), of.y + row * of.width + i);
  }
  if (threadIdx.x == 0 && of.scale != nullptr) of.scale[row] = scale;
}

// A block a task. Bound by reading x, dy and dsum and writing dx; partial sums go through the first
// cache for each row. Columns i = threadIdx.x, threadIdx.x + kThreads, .. of the block's row of
// partial sums belong to one thread.
template <class S, class Y>
__global__ void backward_kernel(NormGradients<S, Y> of, int64_t rows_per_task) {
  using C = Compute<S>;
  C* const dweight = of.dweight + blockIdx.x * of.width;
  for (int64_t i = threadIdx.x; i < of.width; i += kThreads) dweight[i] = 0;
  const int64_t begin = blockIdx.x * rows_per_task;
  const int64_t behind = begin + rows_per_task, end = behind < of.rows ? behind : of.rows;
  for (int64_t row = begin; row < end; ++row) {
    const S* const x = of.x + row * of.x_stride;
    const Y* const dy = of.dy + row * of.width;
    const C scale = of.scale[row];
    C products = 0;
    for (int64_t i = threadIdx.x; i < of.width; i += kThreads) {
      products += widen(dy[i]) * through<S>(of.weight[i]) * widen(x[i]);
    }
    const C mean = sum_over_block<kThreads>(products) / static_cast<C>(of.width);
    const C slope = mean * scale * scale;
    for (int64_t i = threadIdx.x; i < of.width; i += kThreads) {
      const C v = widen(x[i]), d = widen(dy[i]);
      dweight[i] += d * through<S>(v * scale);
      C dx = scale * (d * through<S>(of.weight[i]) - v * slope);
      if (of.dsum != nullptr) dx += widen(of.dsum[row * of.width + i]);
      narrow(dx, of.dx + row * of.width + i);
      if (of.dadded != nullptr) narrow(dx, of.dadded + row * of.width + i);
    }
  }
}

}  // namespace

int64_t rms_norm_tasks(int64_t rows) { return parts(rows, rows_per_task(rows)); }

template <class S, class Y>
void rms_norm(const NormRows<S, Y>& rows, cudaStream_t stream) {
  if (rows.rows == 0) return;
  const auto blocks = grid_size(rows.rows);
  launch(forward_kernel<S, Y>, blocks, kThreads, 0, stream, rows);
}

template <class S, class Y>
void rms_norm(const NormGradients<S, Y>& of, cudaStream_t stream) {
  if (of.rows == 0) return;
  const auto blocks = grid_size(rms_norm_tasks(of.rows));
  launch(backward_kernel<S, Y>, blocks, kThreads, 0, stream, of, rows_per_task(of.rows));
}

#define WEFT_INSTANTIATE(S, Y)                                       \
  template void rms_norm<S, Y>(const NormRows<S, Y>&, cudaStream_t); \
  template void rms_norm<S, Y>(const NormGradients<S, Y>&, cudaStream_t);
WEFT_INSTANTIATE(float, float)
WEFT_INSTANTIATE(double, double)
WEFT_INSTANTIATE(Bf16, Bf16)
WEFT_INSTANTIATE(float, Bf16)

}  // namespace weft::cuda
