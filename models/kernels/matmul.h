#pragma once
// Products of large fp32 matrices on the CPU. LibTorch leaves these to a library that uses half the
// width of AVX-512 on processors not made by Intel; here they are blocks of oneDNN's.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// a [m, k] b [k, n] -> out [m, n], or added to it; as at::mm_out and at::addmm_out. fp32 matrices
// that one of these is faster for than LibTorch take the way above, all others LibTorch's.
// Deterministic for any number of threads. Errors: other shapes, types and devices are a
// programmer's error, and so is an `out` whose rows are not dense.
void multiply_into(Tensor& out, const Tensor& a, const Tensor& b, bool add = false);

// at::linear(x [.., in], weight [out, in], bias [out] or undefined) -> [.., out], and its
// gradients, by such products.
Tensor linear_product(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// Whether this machine has such products of blocks.
bool has_matmul();

// The way above alone, whichever is faster, with a bias [n] or none. REQUIRES: has_matmul(); fp32
// on the CPU.
void multiply_blocks_into(Tensor& out, const Tensor& a, const Tensor& b, bool add,
                          const Tensor& bias, cpu::Isa isa);

}  // namespace weft
