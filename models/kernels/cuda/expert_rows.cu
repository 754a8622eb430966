#include <algorithm>

#include "models/kernels/cuda/block_sum.cuh"
#include "models/kernels/cuda/expert_rows.h"
#include "models/kernels/cuda/pack.cuh"

namespace weft::cuda {
namespace {

constexpr int kMostThreads = 256;

// f(i) for the packs of a row that this thread looks after.
template <int kPack, class F>
__device__ void for_each_pack(int64_t width, const F& f) {
  for (int64_t i = int64_t{threadIdx.x} * kPack; i < width; i += int64_t{blockDim.x} * kPack) f(i);
}

// A block a token. Bound by reading the rows.
template <class S, int kPack>
__global__ void combine_kernel(CombineRows<S> of) {
  using C = Compute<S>;
  const int64_t token = blockIdx.x;
  for_each_pack<kPack>(of.width, [&](int64_t i) {
    C sums[kPack] = {};
    for (int64_t a = token * of.top_k; a < (token + 1) * of.top_k; ++a) {
      const C weight = of.weights == nullptr ? C(1) : of.weights[a];
      const auto row = load_pack<kPack>(of.in + of.row[a] * of.width + i);
#pragma unroll
      for (int p = 0; p < kPack; ++p) sums[p] += weight * widen(row.values[p]);
    }
    Pack<S, kPack> out;
#pragma unroll
    for (int p = 0; p < kPack; ++p) narrow(sums[p], &out.values[p]);
    store_pack(out, of.out + token * of.width + i);
  });
}

// A block a row. Bound by writing them, and with `dots` by reading others.
template <class S, int kPack>
__global__ void spread_kernel(SpreadRows<S> of) {
  using C = Compute<S>;
  const int64_t r = blockIdx.x, a = of.assignment[r];
  S* const out = of.out + r * of.width;
  if (a < 0) {  // in all threads of the block
    for_each_pack<kPack>(of.width, [&](int64_t i) { store_pack(Pack<S, kPack>{}, out + i); });
    return;
  }
  const S* const token = of.tokens + a / of.top_k * of.width;
  const S* const row = of.dots == nullptr ? nullptr : of.in + r * of.width;
  C products = 0;
  for_each_pack<kPack>(of.width, [&](int64_t i) {
    const auto x = load_pack<kPack>(token + i);
    Pack<S, kPack> scaled = x;
    if (of.weights != nullptr) {
      const C weight = of.weights[a];
#pragma unroll
      for (int p = 0; p < kPack; ++p) narrow(weight * widen(x.values[p]), &scaled.values[p]);
    }
    store_pack(scaled, out + i);
    if (row == nullptr) return;
    const auto y = load_pack<kPack>(row + i);
#pragma unroll
    for (int p = 0; p < kPack; ++p) products += widen(x.values[p]) * widen(y.values[p]);
  });
  if (row == nullptr) return;  // in all threads of the block
  const C sum = sum_over_block<kMostThreads>(products);
  if (threadIdx.x == 0) of.dots[a] = sum;
}

// Whole warps, at most as many as have packs of a row to look after.
unsigned threads_for(int64_t width, int pack) {
  const int64_t warps = parts(parts(width, pack), kWarp);
  return static_cast<unsigned>(std::min<int64_t>(warps * kWarp, kMostThreads));
}

}  // namespace

template <class S>
void combine_rows(const CombineRows<S>& of, cudaStream_t stream) {
  if (of.tokens == 0 || of.width == 0) return;
  const auto blocks = grid_size(of.tokens);
  const int pack = of.aligned ? kPackSize<S> : 1;
  const auto kernel = of.aligned ? combine_kernel<S, kPackSize<S>> : combine_kernel<S, 1>;
  launch(kernel, blocks, threads_for(of.width, pack), 0, stream, of);
}

template <class S>
void spread_rows(const SpreadRows<S>& of, cudaStream_t stream) {
  if (of.rows == 0 || of.width == 0) return;
  const auto blocks = grid_size(of.rows);
  const int pack = of.aligned ? kPackSize<S> : 1;
  const auto kernel = of.aligned ? spread_kernel<S, kPackSize<S>> : spread_kernel<S, 1>;
  launch(kernel, blocks, threads_for(of.width, pack), 0, stream, of);
}

#define WEFT_INSTANTIATE(S)                                           \
  template void combine_rows<S>(const CombineRows<S>&, cudaStream_t); \
  template void spread_rows<S>(const SpreadRows<S>&, cudaStream_t);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)
#undef WEFT_INSTANTIATE

}  // namespace weft::cuda
