#include <algorithm>

#include "models/kernels/cuda/pack.cuh"
#include "models/kernels/cuda/silu_mul.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxGridRows = 65535;

// f(row, first column) for the packs of kCount columns that this thread looks after.
template <int kCount, class F>
__device__ void for_each_pack(int64_t rows, int64_t width, const F& f) {
  const int64_t column = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kCount;
  if (column >= width) return;
  const int64_t step = int64_t{gridDim.y} * blockDim.y;
  for (int64_t row = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < rows; row += step) {
    f(row, column);
  }
}

template <int kCount, class S>
__device__ Pack<S, kCount> load(const Columns<const S>& from, int64_t row, int64_t column) {
  return load_pack<kCount>(from.data + row * from.stride + column);
}
template <int kCount, class S>
__device__ void store(const Pack<S, kCount>& pack, const Columns<S>& to, int64_t row,
                      int64_t column) {
  store_pack(pack, to.data + row * to.stride + column);
}

// Grid (parts of the columns, parts of the rows); kCount divides the width. Both kernels are bound
// by the bytes that they read and write.
template <class S, int kCount>
__global__ void forward_kernel(SiluMulForward<S> pass) {
  for_each_pack<kCount>(pass.rows, pass.width, [&](int64_t row, int64_t column) {
    const Pack<S, kCount> gate = load<kCount>(pass.gate, row, column);
    const Pack<S, kCount> up = load<kCount>(pass.up, row, column);
    Pack<S, kCount> y;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const Compute<S> g = widen(gate.values[i]);
      narrow(g * sigmoid(g) * widen(up.values[i]), &y.values[i]);
    }
    store(y, pass.y, row, column);
  });
}

template <class S, int kCount>
__global__ void backward_kernel(SiluMulBackward<S> pass) {
  using C = Compute<S>;
  for_each_pack<kCount>(pass.rows, pass.width, [&](int64_t row, int64_t column) {
    const Pack<S, kCount> gate = load<kCount>(pass.gate, row, column);
    const Pack<S, kCount> up = load<kCount>(pass.up, row, column);
    const Pack<S, kCount> dy = load<kCount>(pass.dy, row, column);
    Pack<S, kCount> dgate, dup;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const C g = widen(gate.values[i]), d = widen(dy.values[i]), s = sigmoid(g);
      narrow(d * widen(up.values[i]) * (s * (C(1) + g * (C(1) - s))), &dgate.values[i]);
      narrow(d * (g * s), &dup.values[i]);
    }
    store(dgate, pass.dgate, row, column);
    store(dup, pass.dup, row, column);
  });
}

template <class S>
bool has_packs(const Columns<S>& columns) {
  return is_aligned(columns.data) && columns.stride % kPackSize<S> == 0;
}

// `packs` a row. Narrow rows share a block.
template <class Pass>
void launch_packs(void (*kernel)(Pass), const Pass& pass, int64_t packs, cudaStream_t stream) {
  unsigned columns = 1;
  while (columns < packs && columns < kThreads) columns *= 2;
  const dim3 block(columns, kThreads / columns);
  const dim3 grid(grid_size(parts(packs, block.x)),
                  grid_size(std::min(parts(pass.rows, block.y), kMaxGridRows)));
  launch(kernel, grid, block, 0, stream, pass);
}

}  // namespace

template <class S>
void silu_mul(const SiluMulForward<S>& pass, cudaStream_t stream) {
  constexpr int kPack = kPackSize<S>;
  if (pass.rows == 0 || pass.width == 0) return;
  if (pass.width % kPack == 0 && has_packs(pass.gate) && has_packs(pass.up) && has_packs(pass.y)) {
    launch_packs(forward_kernel<S, kPack>, pass, pass.width / kPack, stream);
  } else {
    launch_packs(forward_kernel<S, 1>, pass, pass.width, stream);
  }
}

template <class S>
void silu_mul(const SiluMulBackward<S>& pass, cudaStream_t stream) {
  constexpr int kPack = kPackSize<S>;
  if (pass.rows == 0 || pass.width == 0) return;
  if (pass.width % kPack == 0 && has_packs(pass.gate) && has_packs(pass.up) && has_packs(pass.dy) &&
      has_packs(pass.dgate) && has_packs(pass.dup)) {
    launch_packs(backward_kernel<S, kPack>, pass, pass.width / kPack, stream);
  } else {
    launch_packs(backward_kernel<S, 1>, pass, pass.width, stream);
  }
}

#define WEFT_INSTANTIATE(S)                                          \
  template void silu_mul<S>(const SiluMulForward<S>&, cudaStream_t); \
  template void silu_mul<S>(const SiluMulBackward<S>&, cudaStream_t);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)

}  // namespace weft::cuda
