#include "models/kernels/partials.h"

#include <ATen/ops/empty.h>

#include "models/kernels/cpu/tasks.h"
#include "models/kernels/cuda/partials.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"

namespace weft {

Tensor sum_partials(const Tensor& partials, const Tensor& like) {
  const Tensor sum = at::empty(like.sizes(), like.options());
  with_storage(sum, [&](auto storage) {
    using S = decltype(storage);
    const Compute<S>* parts = values<Compute<S>>(partials);
    const int64_t count = partials.size(0), size = sum.numel();
    on_device(
        "sum_partials", sum,
        [&](auto stream) { cuda::sum_partials<S>(parts, count, size, values<S>(sum), stream); },
        [&] { cpu::sum_partials<S>(parts, count, size, values<S>(sum)); });
  });
  return sum;
}

}  // namespace weft
