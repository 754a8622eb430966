#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "models/kernels/ssd.h"

namespace weft {

SsdOutputs ssd_reference(const SsdInputs& in) {
  const at::ScalarType compute = in.dt.scalar_type();
  const int64_t heads = in.x.size(2), per_group = heads / in.b.size(2);
  const Tensor x = in.x.to(compute);                                          // [Bz, T, Hs, P]
  const Tensor b = in.b.to(compute).repeat_interleave(per_group, /*dim=*/2);  // [Bz, T, Hs, N]
  const Tensor c = in.c.to(compute).repeat_interleave(per_group, /*dim=*/2);
  const Tensor keep = in.starts.logical_not().to(compute).unsqueeze(-1);  // [Bz, T, 1]
  Tensor h = in.initial_state.defined()
                 ? in.initial_state
                 : at::zeros({x.size(0), heads, x.size(3), b.size(3)}, in.dt.options());
  std::vector<Tensor> steps;
  for (int64_t t = 0; t < x.size(1); ++t) {
    const Tensor step = in.dt.select(1, t);                        // [Bz, Hs]
    const Tensor decay = (step * in.a).exp() * keep.select(1, t);  // [Bz, Hs]
    const Tensor input = step.unsqueeze(-1) * x.select(1, t);      // [Bz, Hs, P]
    h = decay.unsqueeze(-1).unsqueeze(-1) * h + input.unsqueeze(-1) * b.select(1, t).unsqueeze(2);
    steps.push_back((h * c.select(1, t).unsqueeze(2)).sum(-1));
  }
  const Tensor sum = steps.empty() ? at::zeros_like(x) : at::stack(steps, 1);
  return {(sum + in.d.unsqueeze(-1) * x).to(in.x.scalar_type()), h.detach()};
}

}  // namespace weft
