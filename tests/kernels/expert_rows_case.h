#pragma once
// Inputs of models/kernels/expert_rows.h, and the same by LibTorch's operators.
#include <limits>
#include <utility>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "models/kernels/expert_rows.h"

namespace weft {

struct ExpertCase {
  int64_t tokens, top_k, experts, width;
};

inline constexpr int64_t kTestMultiple = 8;

inline const ExpertCase kExpertCases[] = {{0, 2, 3, 5},    {1, 1, 1, 1},    {1, 2, 4, 7},
                                          {9, 1, 4, 16},   {13, 4, 4, 59},  {40, 2, 5, 97},
                                          {65, 3, 16, 64}, {300, 2, 8, 40}, {20, 5, 12, 1025}};

// experts [n, k], in ascending order for each token; the second one is not used where it need not.
inline Tensor chosen_experts(const ExpertCase& c) {
  const at::Generator random = at::detail::createCPUGenerator(7);
  std::vector<Tensor> tokens = {};
  const bool skips = c.experts > c.top_k;
  for (int64_t t = 0; t < c.tokens; ++t) {
    const Tensor some = at::randperm(c.experts - (skips ? 1 : 0), random).narrow(0, 0, c.top_k);
    tokens.push_back(std::get<0>((skips ? some + some.ge(1) : some).sort()));
  }
  return c.tokens == 0 ? at::empty({0, c.top_k}, at::kLong) : at::stack(tokens);
}

// The assignments token * k + slot of each expert, in order, from the definition.
inline std::vector<std::vector<int64_t>> assignments_of(const Tensor& experts, int64_t count) {
  std::vector<std::vector<int64_t>> all(static_cast<size_t>(count));
  const Tensor flat = experts.reshape(-1);
  for (int64_t a = 0; a < flat.numel(); ++a) all[flat[a].item<int64_t>()].push_back(a);
  return all;
}

inline Tensor random_numbers(std::vector<int64_t> shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kDouble));
}

// The experts' rows of `d` random numbers, fp64; in the padding NaN.
inline Tensor random_rows(const ExpertRows& rows, int64_t d, uint64_t seed) {
  return random_numbers({rows.assignment.size(0), d}, seed)
      .index_fill_(0, rows.assignment.lt(0).nonzero().view(-1),
                   std::numeric_limits<double>::quiet_NaN());
}

inline Tensor leaf_of(const Tensor& t) { return t.detach().clone().set_requires_grad(true); }

// All of these give [result, gradients ..].

// tokens [n, d] to rows of all experts and back, with the gradient of the rows given.
template <class ToRows>
std::vector<Tensor> through_to_experts(const Tensor& tokens, const Tensor& drows,
                                       const ToRows& to_rows) {
  const Tensor leaf = leaf_of(tokens);
  const Tensor rows = to_rows(leaf);
  rows.backward(drows);
  return {rows.detach(), leaf.grad()};
}

// outputs and weights [n, k] to tokens, with the gradient dy [n, d]; gradients of the weights, then
// of all rows.
template <class FromRows>
std::vector<Tensor> through_from_experts(const Tensor& outputs, const Tensor& weights,
                                         const Tensor& dy, const FromRows& from_rows) {
  const Tensor weights_leaf = leaf_of(weights), leaf = leaf_of(outputs);
  const Tensor y = from_rows(leaf, weights_leaf);
  y.backward(dy);
  return {y.detach(), weights_leaf.grad(), leaf.grad()};
}

// By operators: rows are gathered, zeros joined.
inline Tensor plain_to_experts(const Tensor& tokens, const Tensor& experts,
                               const ExpertRows& rows) {
  std::vector<Tensor> pieces;
  const auto assignments = assignments_of(experts, static_cast<int64_t>(rows.groups.sizes.size()));
  for (size_t e = 0; e < assignments.size(); ++e) {
    const Tensor of = at::tensor(assignments[e], at::kLong).floor_divide(experts.size(1));
    const int64_t padding = rows.groups.sizes[e] - static_cast<int64_t>(assignments[e].size());
    pieces.push_back(at::cat(
        {tokens.index_select(0, of), at::zeros({padding, tokens.size(1)}, tokens.options())}));
  }
  return at::cat(pieces);
}

// By operators: rows are gathered by assignment, multiplied in the type of the weights, added up.
inline Tensor plain_from_experts(const Tensor& outputs, const Tensor& weights,
                                 const ExpertRows& rows) {
  const Tensor by_slot = outputs.index_select(0, rows.row.reshape(-1))
                             .reshape({weights.size(0), weights.size(1), outputs.size(1)});
  return (by_slot.to(weights.scalar_type()) * weights.unsqueeze(-1))
      .sum(1)
      .to(outputs.scalar_type());
}

}  // namespace weft
