#include "models/kernels/partials.h"

#include <ATen/ops/empty.h>

#include "models/kernels/cpu/tasks.h"
#include "models/kernels/dispatch.h"

#ifdef WEFT_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "models/kernels/cuda/partials.h"
#endif

namespace weft {

Tensor sum_partials(const Tensor& partials, const Tensor& like) {
  const Tensor sum = at::empty(like.sizes(), like.options());
  with_storage(sum, [&](auto storage) {
    using S = decltype(storage);
    const Compute<S>* parts = values<Compute<S>>(partials);
#ifdef WEFT_CUDA
    if (sum.is_cuda()) {
      const c10::cuda::CUDAGuard guard(sum.device());
      cuda::sum_partials<S>(parts, partials.size(0), sum.numel(), values<S>(sum),
                            c10::cuda::getCurrentCUDAStream());
      return;
    }
#endif
    cpu::sum_partials<S>(parts, partials.size(0), sum.numel(), values<S>(sum));
  });
  return sum;
}

}  // namespace weft
