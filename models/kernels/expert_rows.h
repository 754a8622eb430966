#pragma once
// Rows of tokens to the experts that they use, and the experts' results back to the tokens,
// weighted and summed: a pass over memory each way, forward and backward (the permutation of
// arXiv:2211.15841).
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/grouped_linear.h"

namespace weft {

// Where assignments of tokens to experts have their rows: by (expert, token), those of each expert
// filled up with padding. n tokens, k of E experts each, R rows in all.
struct ExpertRows {
  Tensor row;         // [n, k] int64 assignment -> row
  Tensor assignment;  // [R] int64 row -> assignment token * k + slot; -1 in the padding
  Tensor counts;      // [E] int64 on the CPU, without padding
  RowGroups groups;   // of R rows, with it: multiples of `multiple`
};

// experts [n, k] int64 in [0, num_experts), k >= 1. Errors: others are a programmer's error.
ExpertRows expert_rows(const Tensor& experts, int64_t num_experts, int64_t multiple);

// tokens [n, d] in fp32, fp64 or bf16 -> the experts' rows [R, d], with zeros in the padding. A
// token's gradient is the sum over its rows in ascending order of slot, in the wide type and
// rounded once. Errors: other shapes and types are a programmer's error; no second derivatives.
Tensor to_experts(const Tensor& tokens, const ExpertRows& rows, cpu::Isa isa = cpu::best_isa());

// outputs [R, d] and weights [n, k] of their wide type -> [n, d]: sum over slots, in ascending
// order, of weight * row, in the wide type and rounded once. The gradient of a row is weight * that
// of the token, rounded once, and zero in the padding; that of a weight the product of both, summed
// in the wide type. Errors: as above.
Tensor from_experts(const Tensor& outputs, const Tensor& weights, const ExpertRows& rows,
                    cpu::Isa isa = cpu::best_isa());

}  // namespace weft
