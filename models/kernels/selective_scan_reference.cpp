#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "models/kernels/selective_scan.h"

namespace weft {

ScanOutputs selective_scan_with_state_reference(const SelectiveScanInputs& in) {
  const at::ScalarType storage = in.x.scalar_type();
  const at::ScalarType compute = in.a_log.scalar_type();
  const Tensor x = in.x.to(compute), b = in.b.to(compute), c = in.c.to(compute);
  const Tensor delta = at::softplus(in.dt.to(compute) + in.dt_bias);      // [Bz, T, D]
  const Tensor a = -in.a_log.exp();                                       // [D, N]
  const Tensor keep = in.starts.logical_not().to(compute).unsqueeze(-1);  // [Bz, T, 1]
  Tensor h = in.initial_state.defined() ? in.initial_state
                                        : at::zeros({x.size(0), a.size(0), a.size(1)}, a.options());
  std::vector<Tensor> steps;
  for (int64_t t = 0; t < x.size(1); ++t) {
    const Tensor step = delta.select(1, t).unsqueeze(-1);  // [Bz, D, 1]
    const Tensor decay = (step * a).exp() * keep.select(1, t).unsqueeze(-1);
    h = decay * h + step * x.select(1, t).unsqueeze(-1) * b.select(1, t).unsqueeze(1);
    steps.push_back((h * c.select(1, t).unsqueeze(1)).sum(-1));
  }
  const Tensor sum = steps.empty() ? at::zeros_like(x) : at::stack(steps, 1);
  const Tensor y = (sum + in.d * x) * at::silu(in.z.to(compute));
  return {y.to(storage), h};
}

Tensor selective_scan_reference(const SelectiveScanInputs& in) {
  return selective_scan_with_state_reference(in).y;
}

}  // namespace weft
