#include "models/kernels/cuda/block_sum.cuh"
#include "models/kernels/cuda/pack.cuh"
#include "models/kernels/cuda/sum_of_squares.h"
#include "models/kernels/cuda/tensor_batch.cuh"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256, kTotalThreads = 1024;

// Of any address: the order of the sums does not depend on it.
template <int kCount, class C>
__device__ Pack<C, kCount> load_anywhere(const C* from) {
  if (is_aligned(from)) return load_pack<kCount>(from);
  Pack<C, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) pack.values[i] = from[i];
  return pack;
}

// This thread's share of `count` numbers: packs, and of a rest that is no pack one at most.
template <class C>
__device__ double squares_of_range(const C* from, int64_t count) {
  constexpr int kPack = kPackSize<C>;
  const int64_t rest = count / kPack * kPack;
  double sum = 0;
  for (int64_t i = threadIdx.x * kPack; i < rest; i += kThreads * kPack) {
    const Pack<C, kPack> pack = load_anywhere<kPack>(from + i);
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      const double x = pack.values[j];
      sum += x * x;
    }
  }
  if (rest + threadIdx.x < count) {
    const double x = from[rest + threadIdx.x];
    sum += x * x;
  }
  return sum;
}

// A block a piece; partials [pieces]. Bound by reading the tensors.
template <class C>
__global__ void __launch_bounds__(kThreads)
    piece_kernel(const __grid_constant__ TensorBatch<const C*> batch, double* partials) {
  const BatchPiece piece = piece_of_block(batch);
  const C* const from = batch.tensors[piece.tensor] + piece.begin;
  const double sum = sum_over_block<kThreads>(squares_of_range(from, piece.end - piece.begin));
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// One block.
__global__ void __launch_bounds__(kTotalThreads)
    total_kernel(const double* partials, int64_t count, double* total) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kTotalThreads) sum += partials[i];
  sum = sum_over_block<kTotalThreads>(sum);
  if (threadIdx.x == 0) *total = sum;
}

}  // namespace

int64_t count_partial_squares(const std::vector<int64_t>& sizes) {
  int64_t count = 0;
  for (const int64_t size : sizes) count += parts(size, kBatchPiece);
  return count;
}

template <class C>
void sum_of_squares(const std::vector<const C*>& tensors, const std::vector<int64_t>& sizes,
                    double* partials, double* total, cudaStream_t stream) {
  int64_t count = 0;
  for_each_batch(tensors, sizes, [&](const TensorBatch<const C*>& batch, unsigned pieces) {
    launch(piece_kernel<C>, pieces, kThreads, 0, stream, batch, partials + count);
    count += pieces;
  });
  launch(total_kernel, 1, kTotalThreads, 0, stream, partials, count, total);
}

template void sum_of_squares<float>(const std::vector<const float*>&, const std::vector<int64_t>&,
                                    double*, double*, cudaStream_t);
template void sum_of_squares<double>(const std::vector<const double*>&, const std::vector<int64_t>&,
                                     double*, double*, cudaStream_t);

}  // namespace weft::cuda
