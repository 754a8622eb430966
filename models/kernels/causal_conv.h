#pragma once
// Causal depthwise convolution over time with silu, as in Mamba (spec/models.md 9):
//   y_t[c] = silu(bias[c] + sum_{i<K} weight[c,i] x_{t-(K-1)+i}[c])
// where taps before the first token of the document count as 0.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// x [Bz, T, D] fp32, fp64 or bf16; weight [D, K] and bias [D] (or undefined) of x's type or fp32;
// starts [Bz, T] bool. y [Bz, T, D] in x's type; sums in fp32 (fp64). Differentiable in x, weight
// and bias. Any sizes, strides and device; a wrong shape, type or device is a programmer's error.
// Results do not depend on the number of threads. `isa` is for tests: which of the CPU kernels to
// run.
Tensor causal_conv_silu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Tensor& starts, cpu::Isa isa = cpu::best_isa());

// The same in parts, without gradients (grad mode is off, or nothing requires them): `window`
// [Bz, K-1, D], contiguous and of x's type, holds the K - 1 inputs before token 0 and is
// overwritten with those before the token that comes next. Where their document has fewer, zeros
// stand in front; where token 0 starts a document, the old window counts as zeros. T = 1 has a
// kernel of its own on the CPU.
Tensor causal_conv_silu_with_state(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                   const Tensor& starts, Tensor& window,
                                   cpu::Isa isa = cpu::best_isa());

// The same as causal_conv_silu in plain operators, differentiable through autograd: slow, for
// tests.
Tensor causal_conv_silu_reference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                  const Tensor& starts);

}  // namespace weft
