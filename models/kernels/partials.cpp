#include "models/kernels/partials.h"

#include <ATen/ops/empty.h>

#include "models/kernels/cpu/tasks.h"
#include "models/kernels/dispatch.h"

namespace weft {

Tensor sum_partials(const Tensor& partials, const Tensor& like) {
  const Tensor sum = at::empty(like.sizes(), like.options());
  with_storage(sum, [&](auto storage) {
    using S = decltype(storage);
    cpu::sum_partials<S>(values<Compute<S>>(partials), partials.size(0), sum.numel(),
                         values<S>(sum));
  });
  return sum;
}

}  // namespace weft
