#pragma once
// Linear layers of a few rows, as decoding one token at a time needs them: every weight is read
// from memory once, and that bounds the time. For the CPU, and without gradients; at::linear is for
// everything else.
#include <span>
#include <vector>

#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// weight [out, in] with dense rows (any row stride), bias [out] or undefined.
struct RowLinearLayer {
  Tensor weight, bias;
};

// x [.., n, in] -> x weight^T + bias [.., n, out] in x's type: fp32, fp64 or bf16, which weight and
// bias share. Products and sums are in fp32 (fp64 for fp64), rounded once. A row's result depends
// neither on the other rows nor on the number of threads. Nothing may need a gradient. `isa` is for
// tests: which of the CPU kernels to run.
Tensor row_linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                  cpu::Isa isa = cpu::best_isa());

// The same of several layers of one input, bit for bit, with their rows shared out over the threads
// together.
std::vector<Tensor> row_linear(const Tensor& x, std::span<const RowLinearLayer> layers,
                               cpu::Isa isa = cpu::best_isa());

}  // namespace weft
