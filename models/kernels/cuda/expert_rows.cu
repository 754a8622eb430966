#include <algorithm>

#include "models/kernels/cuda/device.cuh"
#include "models/kernels/cuda/expert_rows.h"

namespace weft::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kMostThreads = 256;

// Numbers that are read or written at once; kPack = 1 asks for no alignment.
template <class S, int kPack>
struct alignas(sizeof(S) * kPack) Pack {
  S of[kPack];
};
template <class S>
constexpr int kFullPack = 16 / static_cast<int>(sizeof(S));

template <class S, int kPack>
__device__ Pack<S, kPack> load(const S* from) {
  return *reinterpret_cast<const Pack<S, kPack>*>(from);
}
template <class S, int kPack>
__device__ void store(S* to, const Pack<S, kPack>& pack) {
  *reinterpret_cast<Pack<S, kPack>*>(to) = pack;
}

// The row of an assignment.
template <class S>
__device__ const S* row_of(const ExpertPieces<S>& in, int64_t assignment, int64_t width) {
  const ExpertPiece<S> piece = in.pieces[in.experts[assignment]];
  return piece.data + (in.row[assignment] - piece.first) * width;
}

// f(i) for the packs of a row that this thread looks after.
template <int kPack, class F>
__device__ void for_each_pack(int64_t width, const F& f) {
  for (int64_t i = int64_t{threadIdx.x} * kPack; i < width; i += int64_t{blockDim.x} * kPack) f(i);
}

// The sum over the block, in thread 0; its order depends on the size of the block alone.
template <class C>
__device__ C sum_over_block(C x) {
  __shared__ C warps[kMostThreads / kWarp];
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) x += __shfl_xor_sync(0xFFFFFFFF, x, i);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = x;
  __syncthreads();
  C sum = 0;
  if (threadIdx.x == 0) {
    for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) sum += warps[warp];
  }
  return sum;
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
      const auto row = load<S, kPack>(row_of(of.in, a, of.width) + i);
#pragma unroll
      for (int p = 0; p < kPack; ++p) sums[p] += weight * widen(row.of[p]);
    }
    Pack<S, kPack> out;
#pragma unroll
    for (int p = 0; p < kPack; ++p) narrow(sums[p], &out.of[p]);
    store<S, kPack>(of.out + token * of.width + i, out);
  });
}

// A block a row. Bound by writing them, and with `dots` by reading others.
template <class S, int kPack>
__global__ void spread_kernel(SpreadRows<S> of) {
  using C = Compute<S>;
  const int64_t r = blockIdx.x, a = of.assignment[r];
  S* const out = of.out + r * of.width;
  if (a < 0) {  // in all threads of the block
    for_each_pack<kPack>(of.width, [&](int64_t i) { store<S, kPack>(out + i, {}); });
    return;
  }
  const S* const token = of.tokens + a / of.top_k * of.width;
  const S* const row = of.dots == nullptr ? nullptr : row_of(of.in, a, of.width);
  C products = 0;
  for_each_pack<kPack>(of.width, [&](int64_t i) {
    const auto x = load<S, kPack>(token + i);
    Pack<S, kPack> scaled = x;
    if (of.weights != nullptr) {
      const C weight = of.weights[a];
#pragma unroll
      for (int p = 0; p < kPack; ++p) narrow(weight * widen(x.of[p]), &scaled.of[p]);
    }
    store<S, kPack>(out + i, scaled);
    if (row == nullptr) return;
    const auto y = load<S, kPack>(row + i);
#pragma unroll
    for (int p = 0; p < kPack; ++p) products += widen(x.of[p]) * widen(y.of[p]);
  });
  if (row == nullptr) return;  // in all threads of the block
  const C sum = sum_over_block(products);
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
  const auto blocks = static_cast<unsigned>(of.tokens);
  const int pack = of.aligned ? kFullPack<S> : 1;
  const auto kernel = of.aligned ? combine_kernel<S, kFullPack<S>> : combine_kernel<S, 1>;
  launch(kernel, blocks, threads_for(of.width, pack), 0, stream, of);
}

template <class S>
void spread_rows(const SpreadRows<S>& of, cudaStream_t stream) {
  if (of.rows == 0 || of.width == 0) return;
  const auto blocks = static_cast<unsigned>(of.rows);
  const int pack = of.aligned ? kFullPack<S> : 1;
  const auto kernel = of.aligned ? spread_kernel<S, kFullPack<S>> : spread_kernel<S, 1>;
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
