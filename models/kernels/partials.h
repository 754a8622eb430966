#pragma once
// Partial sums, which a backward pass leaves one a task, to gradients.
#include "base/tensor.h"

namespace weft {

// partials [count, n] fp32 (fp64 where `like` is fp64), dense -> their sum over the first dimension
// in its order, in the shape, type and device of `like`, which has n elements. The result does not
// depend on the number of threads.
Tensor sum_partials(const Tensor& partials, const Tensor& like);

}  // namespace weft
