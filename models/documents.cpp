#include "models/documents.h"

#include <algorithm>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/check.h"

namespace weft {
namespace {

PackedDocuments pack(const std::vector<Segment>& segments, at::Device device) {
  const Tensor boundaries = at::zeros({static_cast<int64_t>(segments.size()) + 1}, at::kInt);
  auto* const ends = boundaries.mutable_data_ptr<int32_t>();
  int64_t longest = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const int64_t length = segments[i].end - segments[i].begin;
    longest = std::max(longest, length);
    ends[i + 1] = ends[i] + static_cast<int32_t>(length);
  }
  return {boundaries.to(device), longest};
}

}  // namespace

Documents Documents::whole_rows(int64_t rows, int64_t length, at::Device device) {
  Documents documents;
  documents.rows = rows;
  documents.length = length;
  documents.starts = at::zeros({rows, length}, at::TensorOptions(at::kBool).device(device));
  if (length > 0) documents.starts.select(1, 0).fill_(true);
  documents.positions =
      at::arange(length, at::TensorOptions(at::kLong).device(device)).expand({rows, length});
  for (int64_t row = 0; row < rows; ++row) documents.segments.push_back({row, 0, length});
  documents.packed = pack(documents.segments, device);
  return documents;
}

Tensor Documents::lengths() const {
  const Tensor lengths = at::empty({rows, length}, at::kLong);
  for (const Segment& s : segments) {
    lengths.select(0, s.row).narrow(0, s.begin, s.end - s.begin).fill_(s.end - s.begin);
  }
  return lengths;
}

Documents Documents::from_ids(const Tensor& ids, at::Device device) {
  WEFT_CHECK(ids.dim() == 2 && ids.scalar_type() == at::kInt && ids.device().is_cpu(),
             "document ids must be [Bz, T] int32 on the CPU");
  Documents documents;
  documents.rows = ids.size(0);
  documents.length = ids.size(1);
  const Tensor starts = at::zeros(ids.sizes(), at::kBool);
  const Tensor positions = at::empty(ids.sizes(), at::kLong);
  const auto id = ids.accessor<int32_t, 2>();
  auto start = starts.accessor<bool, 2>();
  auto position = positions.accessor<int64_t, 2>();
  for (int64_t row = 0; row < documents.rows; ++row) {
    int64_t begin = 0;
    for (int64_t t = 0; t < documents.length; ++t) {
      if (t > 0 && id[row][t] != id[row][t - 1]) {
        documents.segments.push_back({row, begin, t});
        begin = t;
      }
      start[row][t] = t == begin;
      position[row][t] = t - begin;
    }
    if (documents.length > 0) documents.segments.push_back({row, begin, documents.length});
  }
  documents.starts = starts.to(device);
  documents.positions = positions.to(device);
  documents.packed = pack(documents.segments, device);
  return documents;
}

}  // namespace weft
