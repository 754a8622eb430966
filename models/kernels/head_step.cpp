#include "models/kernels/head_step.h"

#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/head_step.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/residual.h"
#include "models/kernels/staged_work.h"

namespace weft {

Tensor head_step(const RmsNormWeights& norm, const Tensor& head, const Tensor& x, cpu::Isa isa) {
  void* memory = nullptr;
  cpu::Scratch scratch;
  const cpu::StagedWorkPtr work = head_work(norm, head, x, &memory, scratch, isa);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = head.size(0);
  const Tensor logits = at::empty(shape, x.options().dtype(wide_type(head.scalar_type())));
  if (x.numel() == 0) return logits.zero_();
  memory = logits.mutable_data_ptr();
  work->run();
  return logits;
}

cpu::StagedWorkPtr head_work(const RmsNormWeights& norm, const Tensor& head, const Tensor& x,
                             void* const* logits, cpu::Scratch& scratch, cpu::Isa isa) {
  const at::ScalarType storage = head.scalar_type();
  check_residual("head_step", x, norm, storage);
  WEFT_CHECK(head.dim() == 2, "head_step: the head is ", head.sizes());
  check_dense("head_step", "head", head, {head.size(0), x.size(-1)}, storage);
  if (x.numel() == 0) return owning(nullptr);
  return with_storage(head, [&](auto s) {
    using S = decltype(s);
    return owning(cpu::head_work<S>({.residual = raw_residual<S>(x, norm, storage),
                                     .vocab = head.size(0),
                                     .head = values<S>(head),
                                     .logits = logits},
                                    scratch, isa),
                  norm, head, x);
  });
}

}  // namespace weft
