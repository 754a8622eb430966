#pragma once
// The raw kernel silu(gate) * up on tensors.
#include <ATen/ops/empty_like.h>

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/silu_mul.h"
#include "models/kernels/dispatch.h"

namespace weft {

// gate and up dense, of one shape and type.
inline Tensor silu_mul(const Tensor& gate, const Tensor& up, cpu::Isa isa) {
  Tensor y = at::empty_like(gate);
  with_storage(gate, [&](auto storage) {
    using S = decltype(storage);
    const auto run = WEFT_KERNEL_FOR(isa, silu_mul_range<S>);
    run(values<S>(gate), values<S>(up), values<S>(y), gate.numel());
  });
  return y;
}

}  // namespace weft
