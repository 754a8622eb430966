#include <limits>
#include <type_traits>

#include "models/kernels/cuda/block_sum.cuh"
#include "models/kernels/cuda/cross_entropy.h"
#include "models/kernels/cuda/pack.cuh"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;

template <class C>
constexpr C kLowest = std::numeric_limits<C>::lowest();
template <class C>
constexpr C kNan = std::numeric_limits<C>::quiet_NaN();

// f(first, count) for all numbers of a row among the block's threads: `count`, a constant, is a
// pack's size, or 1 for those before and behind the aligned packs. Which thread has a number
// depends on the row's address modulo a pack, and on nothing else.
template <class S, class F>
__device__ void for_each_pack(const S* row, int64_t size, const F& f) {
  constexpr int kPack = kPackSize<S>;
  const int past = static_cast<int>(reinterpret_cast<uintptr_t>(row) % kPackBytes / sizeof(S));
  const int to_aligned = (kPack - past) % kPack;
  const int64_t head = to_aligned < size ? to_aligned : size, packs = (size - head) / kPack;
  for (int64_t p = threadIdx.x; p < packs; p += kThreads) {
    f(head + p * kPack, std::integral_constant<int, kPack>{});
  }
  const int64_t i = threadIdx.x;
  if (i < size - packs * kPack) {
    f(i < head ? i : i + packs * kPack, std::integral_constant<int, 1>{});
  }
}

// Of the logits that a thread has seen: the largest of those that are numbers, the sum of
// exp(z - largest), in which the others show, and that of z.
template <class C>
struct RunningSums {
  C largest = kLowest<C>;  // finite, so that a logit of -inf adds 0
  C exponentials = 0, logits = 0;
};

template <int kCount, class S>
__device__ void add(const Pack<S, kCount>& pack, RunningSums<Compute<S>>& sums) {
  using C = Compute<S>;
  C z[kCount], largest = sums.largest;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    z[i] = widen(pack.values[i]);
    sums.logits += z[i];
    if (z[i] > largest) largest = z[i];
  }
  if (largest > sums.largest) {
    sums.exponentials *= exponential(sums.largest - largest);
    sums.largest = largest;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums.exponentials += exponential(z[i] - largest);
}

// In all threads; no x is NaN.
template <class C>
__device__ C max_over_block(C x) {
  __shared__ C largest[kThreads / kWarp];
#pragma unroll
  for (int i = kWarp / 2; i > 0; i /= 2) {
    const C other = __shfl_xor_sync(0xFFFFFFFF, x, i);
    if (other > x) x = other;
  }
  if (threadIdx.x % kWarp == 0) largest[threadIdx.x / kWarp] = x;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kThreads / kWarp; ++i) {
    if (largest[i] > x) x = largest[i];
  }
  return x;
}

// d z[i] = exp(z[i] - largest) * factor - uniform, less at_target where i is the target.
template <class C>
struct Slope {
  C factor, uniform, at_target;
};

// Sums of the row, in all threads.
template <class C>
struct RowSums {
  C largest;
  double exponentials, logits;
};

// By one thread: nll, penalty and the gradient's factors. target < 0 is not asked for.
template <class S>
__device__ Slope<Compute<S>> finish_row(const CrossEntropyRows<S>& rows, int64_t row,
                                        Compute<S> chosen_logit, const RowSums<Compute<S>>& sums) {
  using C = Compute<S>;
  const double smoothing = rows.label_smoothing, vocab = static_cast<double>(rows.vocab);
  const double largest = sums.largest, chosen = chosen_logit;
  const double log_sum = log(sums.exponentials), lse = largest + log_sum;
  const double mean = smoothing == 0 ? 0 : sums.logits / vocab;
  rows.nll[row] = static_cast<C>(log_sum + (largest - chosen));
  rows.penalty[row] = static_cast<C>(rows.z_loss * lse * lse + smoothing * (chosen - mean));
  const double factor = rows.scale * (1 + 2 * rows.z_loss * lse) / sums.exponentials;
  return {rows.targets[row] < rows.vocab ? static_cast<C>(factor) : kNan<C>,
          static_cast<C>(rows.scale * smoothing / vocab),
          static_cast<C>(rows.scale * (1 - smoothing))};
}

// A block a row. Bound by reading the row, and by reading it again and writing the gradient.
// Threads sum in the wide type, and the block in fp64.
template <class S>
__global__ void __launch_bounds__(kThreads) row_kernel(CrossEntropyRows<S> rows) {
  using C = Compute<S>;
  __shared__ Slope<C> shared_slope;
  const int64_t row = blockIdx.x, target = rows.targets[row];
  S* const z = rows.logits + row * rows.vocab;
  if (target < 0) {
    if (threadIdx.x == 0) rows.nll[row] = rows.penalty[row] = 0;
    for (int64_t i = threadIdx.x; rows.gradient && i < rows.vocab; i += kThreads) {
      narrow(C(0), z + i);
    }
    return;
  }
  const C chosen = target < rows.vocab ? widen(z[target]) : kNan<C>;
  RunningSums<C> mine;
  for_each_pack(z, rows.vocab, [&](int64_t first, auto count) {
    add(load_pack<decltype(count)::value>(z + first), mine);
  });
  const C largest = max_over_block(mine.largest);
  const C exponentials = mine.exponentials * exponential(mine.largest - largest);
  RowSums<C> sums;
  sums.largest = largest;
  sums.exponentials = sum_over_block<kThreads>(static_cast<double>(exponentials));
  sums.logits = sum_over_block<kThreads>(static_cast<double>(mine.logits));
  if (threadIdx.x == 0) shared_slope = finish_row(rows, row, chosen, sums);
  if (!rows.gradient) return;
  __syncthreads();
  const Slope<C> slope = shared_slope;
  for_each_pack(z, rows.vocab, [&](int64_t first, auto count) {
    constexpr int kCount = decltype(count)::value;
    Pack<S, kCount> pack = load_pack<kCount>(z + first);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const C softmax = exponential(widen(pack.values[i]) - largest) * slope.factor;
      const C certain = first + i == target ? slope.at_target : C(0);
      narrow(softmax - slope.uniform - certain, &pack.values[i]);
    }
    store_pack(pack, z + first);
  });
}

}  // namespace

template <class S>
void cross_entropy(const CrossEntropyRows<S>& rows, cudaStream_t stream) {
  if (rows.rows == 0) return;
  launch(row_kernel<S>, grid_size(rows.rows), kThreads, 0, stream, rows);
}

template void cross_entropy<float>(const CrossEntropyRows<float>&, cudaStream_t);
template void cross_entropy<double>(const CrossEntropyRows<double>&, cudaStream_t);
template void cross_entropy<Bf16>(const CrossEntropyRows<Bf16>&, cudaStream_t);

}  // namespace weft::cuda
