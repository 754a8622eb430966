#pragma once
// Where documents begin and end in rows of packed tokens: what keeps attention, state and
// convolution windows of one document from the next.
#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "models/kernels/flash_attention.h"
#include "models/kernels/segment.h"

namespace weft {

struct Documents {
  Tensor starts;     // [Bz, T] bool on the model's device: true at the first token of each document
  Tensor positions;  // [Bz, T] int64 on the model's device: index inside the document, from 0
  std::vector<Segment> segments;  // all documents, row by row
  PackedDocuments packed;         // the same for kernels on the model's device
  int64_t rows = 0, length = 0;

  // One document a row.
  static Documents whole_rows(int64_t rows, int64_t length, at::Device device);
  // From document ids [Bz, T] int32 on the CPU (they change where a document starts).
  static Documents from_ids(const Tensor& ids, at::Device device);

  // [Bz, T] int64 on the CPU: tokens of the document that each token belongs to.
  Tensor lengths() const;

  bool one_per_row() const { return static_cast<int64_t>(segments.size()) == rows; }
};

}  // namespace weft
