#pragma once
// Sums over rows: the gradient of a bias.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// sum [n] += the sum over m of rows [m, n], any strides: rows in fp32, fp64 or bf16, sum in the
// wide type. On the CPU in an order that does not depend on the number of threads. Errors: other
// shapes and types are a programmer's error.
void add_column_sums(const Tensor& sum, const Tensor& rows, cpu::Isa isa = cpu::best_isa());

}  // namespace weft
