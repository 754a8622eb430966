#pragma once
// Functions of rows whose inner values are computed again in the backward pass instead of being
// kept (arXiv:1604.06174).
#include <functional>
#include <vector>

#include "base/tensor.h"

namespace weft {

// x [n, d] and weights (of which some may be undefined) -> [n, ..], each row from its own row of x.
using RowFunction = std::function<Tensor(const Tensor& x, const std::vector<Tensor>& weights)>;

// f(x, weights), a slice of at most `rows` rows after the other. Where a gradient is wanted, x
// alone is kept for it, and f runs a second time, slice by slice, before each is given its
// gradient. The weights' gradients are summed over slices in fp32 (fp64 for fp64) and rounded once.
// f must not depend on the order of its calls. REQUIRES: no second derivatives.
Tensor in_slices(const Tensor& x, const std::vector<Tensor>& weights, int64_t rows,
                 const RowFunction& f);

}  // namespace weft
