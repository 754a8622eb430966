#include "models/kernels/cuda/adamw.h"
#include "models/kernels/cuda/pack.cuh"
#include "models/kernels/cuda/tensor_batch.cuh"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;

template <int kCount, class C>
__device__ void update_pack(const AdamWUpdate<C>& u, const AdamWValues<C>& at, int64_t first) {
  const Pack<C, kCount> gradient = load_pack<kCount>(at.gradient + first);
  Pack<C, kCount> m = load_pack<kCount>(at.m + first), v = load_pack<kCount>(at.v + first);
  Pack<C, kCount> master = load_pack<kCount>(at.master + first);
  Pack<Bf16, kCount> copy;
  Pack<C, kCount> zeros;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const C g = gradient.values[i] * u.gradient_scale;
    m.values[i] = m.values[i] * u.beta1 + g * u.one_minus_beta1;
    v.values[i] = v.values[i] * u.beta2 + g * g * u.one_minus_beta2;
    C p = master.values[i];
    p -= p * u.decay;
    p -= u.step_size * m.values[i] / (sqrt(v.values[i]) * u.root_scale + u.eps);
    master.values[i] = p;
    narrow(static_cast<float>(p), &copy.values[i]);
    zeros.values[i] = 0;
  }
  store_pack(m, at.m + first);
  store_pack(v, at.v + first);
  store_pack(master, at.master + first);
  store_pack(zeros, at.gradient + first);
  if (at.copy != nullptr) store_pack(copy, at.copy + first);
}

// Elements begin .. end - 1 in packs of kCount, and a rest of single ones, by the block.
template <int kCount, class C>
__device__ void update_range(const AdamWUpdate<C>& update, const AdamWValues<C>& at, int64_t begin,
                             int64_t end) {
  const int64_t rest = begin + (end - begin) / kCount * kCount;
  for (int64_t i = begin + threadIdx.x * kCount; i < rest; i += kThreads * kCount) {
    update_pack<kCount>(update, at, i);
  }
  if (rest + threadIdx.x < end) update_pack<1>(update, at, rest + threadIdx.x);
}

// A block a piece. Bound by reading four tensors and writing them and the copy.
template <class C>
__global__ void __launch_bounds__(kThreads)
    update_kernel(const __grid_constant__ AdamWUpdate<C> update,
                  const __grid_constant__ TensorBatch<AdamWValues<C>> batch) {
  constexpr int kPack = kPackSize<C>;
  const BatchPiece piece = piece_of_block(batch);
  const AdamWValues<C> at = batch.tensors[piece.tensor];
  if (is_aligned(at.master) && is_aligned(at.gradient) && is_aligned(at.m) && is_aligned(at.v) &&
      is_aligned(at.copy, kPack * sizeof(Bf16))) {
    update_range<kPack>(update, at, piece.begin, piece.end);
  } else {
    update_range<1>(update, at, piece.begin, piece.end);
  }
}

}  // namespace

template <class C>
void adamw(const AdamWUpdate<C>& update, const std::vector<AdamWValues<C>>& parameters,
           const std::vector<int64_t>& sizes, cudaStream_t stream) {
  static_assert(sizeof(update) + sizeof(TensorBatch<AdamWValues<C>>) <= 4096);
  for_each_batch(parameters, sizes, [&](const TensorBatch<AdamWValues<C>>& batch, unsigned pieces) {
    launch(update_kernel<C>, pieces, kThreads, 0, stream, update, batch);
  });
}

template void adamw<float>(const AdamWUpdate<float>&, const std::vector<AdamWValues<float>>&,
                           const std::vector<int64_t>&, cudaStream_t);
template void adamw<double>(const AdamWUpdate<double>&, const std::vector<AdamWValues<double>>&,
                            const std::vector<int64_t>&, cudaStream_t);

}  // namespace weft::cuda
