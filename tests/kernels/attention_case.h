#pragma once
// Packed documents for tests of attention, and attention by its definition in plain operators.
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include "base/tensor.h"
#include "models/kernels/segment.h"
#include "tests/support/fill.h"

namespace weft {

struct AttentionCase {
  int64_t heads = 1, kv_heads = 1, width = 64, window = 0;
  std::vector<std::vector<int64_t>> documents;  // lengths, of each row
};

inline std::vector<Segment> segments_of(const AttentionCase& c) {
  std::vector<Segment> segments;
  for (size_t row = 0; row < c.documents.size(); ++row) {
    int64_t begin = 0;
    for (const int64_t length : c.documents[row]) {
      segments.push_back({static_cast<int64_t>(row), begin, begin + length});
      begin += length;
    }
  }
  return segments;
}

// [Bz, T, H, e], [Bz, T, KV, e] twice, and the gradient of the output.
struct AttentionInputs {
  Tensor q, k, v, dy;
};

inline AttentionInputs inputs_of(const AttentionCase& c, at::ScalarType type) {
  const auto rows = static_cast<int64_t>(c.documents.size());
  const int64_t length = segments_of(c).back().end;
  const auto make = [&](int64_t heads, double phi) {
    return fill({rows, length, heads, c.width}, phi).to(type);
  };
  return {2 * make(c.heads, 1), 2 * make(c.kv_heads, 2), make(c.kv_heads, 3), make(c.heads, 4)};
}

// The definition, document by document and head by head.
inline Tensor plain_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                              const AttentionCase& c) {
  const int64_t group = c.heads / c.kv_heads;
  std::vector<std::vector<Tensor>> rows(c.documents.size());
  for (const Segment& s : segments_of(c)) {
    const int64_t length = s.end - s.begin;
    const Tensor position = at::arange(length, at::kDouble);
    const Tensor distance = position.unsqueeze(1) - position;
    Tensor hidden = distance.lt(0);
    if (c.window > 0) hidden = hidden.logical_or(distance.ge(c.window));
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < c.heads; ++h) {
      const auto part = [&](const Tensor& x, int64_t head) {
        return x[s.row].narrow(0, s.begin, length).select(1, head);
      };
      const Tensor scores =
          at::matmul(part(q, h), part(k, h / group).t()) / std::sqrt(static_cast<double>(c.width));
      const Tensor seen = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
      heads.push_back(at::matmul(at::softmax(seen, -1), part(v, h / group)).unsqueeze(1));
    }
    rows[s.row].push_back(at::cat(heads, 1));
  }
  std::vector<Tensor> all;
  for (const std::vector<Tensor>& row : rows) all.push_back(at::cat(row, 0).unsqueeze(0));
  return at::cat(all, 0);
}

}  // namespace weft
