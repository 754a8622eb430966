#pragma once
// Many tensors in few launches: a batch of them is a kernel's argument, and each thread block takes
// one piece of one tensor.
#include <vector>

#include "models/kernels/cuda/device.cuh"

namespace weft::cuda {

constexpr int kBatchTensors = 64;  // arguments of a kernel are at most 4 KiB
constexpr int64_t kBatchPiece = 8192;

// V: a tensor's pointers.
template <class V>
struct TensorBatch {
  V tensors[kBatchTensors];
  int64_t sizes[kBatchTensors];  // in elements, none 0
  int64_t ends[kBatchTensors];   // pieces of this tensor and those before it
  int count;
};

// Elements begin .. end - 1 of one tensor; begin is a multiple of kBatchPiece.
struct BatchPiece {
  int tensor;
  int64_t begin, end;
};

// The piece of block blockIdx.x.
template <class V>
__device__ BatchPiece piece_of_block(const TensorBatch<V>& batch) {
  const int64_t piece = blockIdx.x;
  int low = 0, high = batch.count - 1;  // the first tensor whose end is behind the piece
  while (low < high) {
    const int middle = (low + high) / 2;
    if (batch.ends[middle] > piece) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const int64_t begin = (piece - (low == 0 ? 0 : batch.ends[low - 1])) * kBatchPiece;
  const int64_t behind = begin + kBatchPiece, size = batch.sizes[low];
  return {low, begin, behind < size ? behind : size};
}

// f(batch, pieces) for all tensors, which have these sizes.
template <class V, class F>
void for_each_batch(const std::vector<V>& tensors, const std::vector<int64_t>& sizes, const F& f) {
  TensorBatch<V> batch{};
  int64_t pieces = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (sizes[i] > 0) {
      pieces += parts(sizes[i], kBatchPiece);
      batch.tensors[batch.count] = tensors[i];
      batch.sizes[batch.count] = sizes[i];
      batch.ends[batch.count++] = pieces;
    }
    if (batch.count == kBatchTensors || (batch.count > 0 && i + 1 == tensors.size())) {
      f(batch, grid_size(pieces));
      batch.count = 0;
      pieces = 0;
    }
  }
}

}  // namespace weft::cuda
