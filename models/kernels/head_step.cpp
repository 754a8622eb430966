#include "models/kernels/head_step.h"

#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/head_step.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/residual.h"

namespace weft {

Tensor head_step(const RmsNormWeights& norm, const Tensor& head, const Tensor& x, cpu::Isa isa) {
  const at::ScalarType storage = head.scalar_type();
  check_residual("head_step", x, norm, storage);
  WEFT_CHECK(head.dim() == 2, "head_step: the head is ", head.sizes());
  check_dense("head_step", "head", head, {head.size(0), x.size(-1)}, storage);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = head.size(0);
  const Tensor logits = at::empty(shape, x.options().dtype(wide_type(storage)));
  if (x.numel() == 0) return logits.zero_();
  with_storage(head, [&](auto s) {
    using S = decltype(s);
    cpu::head_step<S>({.residual = raw_residual<S>(x, norm, storage),
                       .vocab = head.size(0),
                       .head = values<S>(head),
                       .logits = values<Compute<S>>(logits)},
                      isa);
  });
  return logits;
}

}  // namespace weft
