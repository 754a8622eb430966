#pragma once
// The square of the Euclidean norm of many tensors together, as clipping needs it.
#include <vector>

#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// Dense tensors, all fp32 or all fp64, on one device. Squares and sums are in fp64, in an order
// that depends neither on the number of threads nor on the instruction set, which for fp32 gives
// the same bits; a GPU's order is another one. Errors: other tensors are a programmer's error.
double sum_of_squares(const std::vector<Tensor>& tensors, cpu::Isa isa = cpu::best_isa());

}  // namespace weft
