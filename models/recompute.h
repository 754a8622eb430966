#pragma once
// Functions of rows whose inner values are computed again in the backward pass instead of being
// kept (arXiv:1604.06174).
#include <functional>
#include <memory>
#include <vector>

#include "base/tensor.h"
#include "models/kernels/host_stash.h"
#include "models/kernels/matmul.h"

namespace weft {

// x [n, d] -> [n, ..], each row from its own row of x, differentiable in x and in leaves that it
// uses. `first`: the place of x's first row in all of them, as rows may differ in their leaves.
using RowFunction = std::function<Tensor(const Tensor& x, int64_t first, Values values)>;

// f(x, 0, values), a slice of at most `rows` rows after the other. Where a gradient is wanted, x
// alone is kept for it, and f runs a second time, slice by slice, with the same random numbers and
// with Values::kUnused, before each is given its gradient: those of leaves are added up there, or
// in the sums of linear layers (models/linear.h). f must not depend on the order of its calls.
// REQUIRES: no second derivatives.
//
// With Values::kUnused the result has the right shape, type (x's) and gradients, but unknown
// values, and f runs in the backward pass alone: where a block is computed again, nothing but the
// gradient of what an MLP gives is needed, so that the MLP runs twice in all instead of three times
// (spec/methods.md 1.7). REQUIRES then: f's result is like x, and nothing behind it in a part that
// is computed again draws random numbers.
Tensor in_slices(const Tensor& x, int64_t rows, const RowFunction& f,
                 Values values = Values::kWanted);

// A part of a model: x -> some tensors, differentiable in x and in leaves that it uses.
using PartFunction = std::function<std::vector<Tensor>(const Tensor& x, Values values)>;

// What is kept of a part for its second run, besides its input: nothing, or the results of matrix
// products and of attention that has kernels of its own (models/kernels/kept_results.h), which are
// then not computed again (arXiv:2205.05198).
enum class Keep { kNothing, kProducts };

// f(x, kWanted), of which x (in `stash`, if there is one) and what `keep` says are kept for the
// backward pass: there f(x, kUnused) runs and is differentiated, straight into the gradients of its
// leaves. Then its first tensor may have other values, but not other gradients; all else must be
// the same. The same kernels run both times, and draw the same random numbers. REQUIRES: gradients
// are wanted, x is differentiable; no second derivatives.
std::vector<Tensor> recomputed(const Tensor& x, const PartFunction& f, Keep keep = Keep::kNothing,
                               const std::shared_ptr<HostStash>& stash = nullptr);

}  // namespace weft
