#pragma once
// Linear layers of groups of rows, each with a weight of its own: the products of experts with the
// tokens that are routed to them (arXiv:2211.15841).
#include <vector>

#include "base/tensor.h"
#include "models/kernels/kept_results.h"

namespace weft {

// R rows, those of a group one behind the other, the groups in order.
struct RowGroups {
  std::vector<int64_t> sizes;  // [E], may be 0
  Tensor ends;                 // [E] int32, on the rows' device: the row behind each group

  // As groups of rows first .. first + count - 1 alone.
  RowGroups part(int64_t first, int64_t count) const;
};

RowGroups row_groups(std::vector<int64_t> sizes, at::Device device);

// x [R, in], weight [E, out, in] -> [R, out]: each row with its group's weight. The gradient of the
// weight is added to `sum` [E, out, in] in the wide type straight away, and autograd gets none;
// where `sum` is undefined autograd gets it. `values` and second runs: as of linear_product
// (models/kernels/matmul.h). On a GPU one product for all groups where LibTorch has it (bf16;
// compute capability 9 and 10), else, and on the CPU, one for each. Errors: other shapes and types
// are a programmer's error; no second derivatives.
Tensor grouped_linear(const Tensor& x, const RowGroups& groups, const Tensor& weight,
                      const Tensor& sum = {}, Values values = Values::kWanted);

}  // namespace weft
