#pragma once
// Products of large matrices with fp32 results on the CPU, from blocks of oneDNN's. LibTorch leaves
// fp32 ones to a library that uses half the width of AVX-512 on processors not made by Intel, and
// has none of bf16 matrices into fp32.
#include "base/tensor.h"
#include "models/kernels/cpu/block_product.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/kept_results.h"

namespace weft {

using cpu::Into;

// a [m, k] b [k, n] -> out [m, n], or added to it. All are of one type, or out is fp32 where a and
// b are bf16. Large products into fp32 take the way above where that is faster, all others
// LibTorch's (on a GPU those of bf16 matrices are rounded before they are fp32). Errors: other
// shapes and types are a programmer's error.
void multiply_into(Tensor& out, const Tensor& a, const Tensor& b, Into into = Into::kResult);

// What a backward pass adds the gradients of a linear layer's weight and bias to, in the wider
// type; undefined: autograd gets them.
struct LinearSums {
  Tensor weight;  // [out, in]
  Tensor bias;    // [out]
};

// at::linear(x [.., in], weight [out, in], bias [out] or undefined) -> [.., out], and its
// gradients, by such products. With sums those of the weight and the bias are added there
// straight away, and autograd gets none. With Values::kUnused there is no product: a tensor of the
// right shape with unknown values, and gradients as ever. REQUIRES: sums for both or neither; no
// second derivatives.
Tensor linear_product(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                      const LinearSums& sums = {}, Values values = Values::kWanted);

// Whether this machine has such products of blocks of fp32 or bf16.
bool has_matmul(at::ScalarType type);

// The way above alone, whichever is faster, with a bias [n] or none. Deterministic for any number
// of threads. REQUIRES: has_matmul(); on the CPU; an fp32 `out` with dense rows.
void multiply_blocks_into(Tensor& out, const Tensor& a, const Tensor& b, Into into,
                          const Tensor& bias, cpu::Isa isa);

}  // namespace weft
