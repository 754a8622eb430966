#include "models/kernels/silu_mul.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/silu_mul.h"
#include "models/kernels/dispatch.h"

namespace weft {

Tensor silu_mul(const Tensor& gate_in, const Tensor& up_in, cpu::Isa isa) {
  const at::ScalarType type = gate_in.scalar_type();
  WEFT_CHECK(type == at::kFloat || type == at::kDouble || type == at::kBFloat16,
             "silu_mul is for fp32, fp64 and bf16");
  WEFT_CHECK(gate_in.is_cpu() && up_in.is_cpu() && up_in.scalar_type() == type &&
                 up_in.sizes() == gate_in.sizes(),
             "silu_mul of ", gate_in.toString(), " ", gate_in.sizes(), " and ", up_in.toString(),
             " ", up_in.sizes());
  WEFT_CHECK(!at::GradMode::is_enabled(), "silu_mul has no gradient");
  const Tensor gate = gate_in.contiguous(), up = up_in.contiguous();
  Tensor y = at::empty(gate.sizes(), gate.options());
  with_storage(gate, [&](auto storage) {
    using S = decltype(storage);
    cpu::silu_mul<S>(values<S>(gate), values<S>(up), values<S>(y), gate.numel(), isa);
  });
  return y;
}

}  // namespace weft
