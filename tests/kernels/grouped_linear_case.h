#pragma once
// Inputs of models/kernels/grouped_linear.h, and the same by LibTorch's operators.
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include "models/kernels/grouped_linear.h"
#include "tests/support/fill.h"

namespace weft {

struct GroupedCase {
  std::vector<int64_t> sizes;
  int64_t in, out;

  int64_t rows() const {
    int64_t all = 0;
    for (const int64_t size : sizes) all += size;
    return all;
  }
  std::vector<int64_t> shape() const { return {static_cast<int64_t>(sizes.size()), out, in}; }
};

inline const GroupedCase kGroupedCases[] = {
    {{3, 0, 5, 2}, 7, 5},       {{0, 0}, 4, 4},           {{1}, 1, 1},
    {{64, 128, 0, 64}, 96, 80}, {{0, 192, 64}, 130, 150}, {{5, 6}, 8, 0}};

struct GroupedInputs {
  Tensor x, weight, dy, sum;  // fp64
};

inline GroupedInputs grouped_inputs(const GroupedCase& c) {
  return {fill({c.rows(), c.in}, 0.1), fill(c.shape(), 0.2), fill({c.rows(), c.out}, 0.3),
          fill(c.shape(), 0.4)};
}

// y and the gradients of x and of the weight by f(x, weight).
template <class F>
std::vector<Tensor> grouped_results(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                    const F& f) {
  const Tensor x_leaf = x.detach().clone().set_requires_grad(true);
  const Tensor weight_leaf = weight.detach().clone().set_requires_grad(true);
  const Tensor y = f(x_leaf, weight_leaf);
  y.backward(dy);
  return {y.detach(), x_leaf.grad(), weight_leaf.grad()};
}

// Group after group.
inline Tensor plain_grouped_linear(const Tensor& x, const std::vector<int64_t>& sizes,
                                   const Tensor& weight) {
  std::vector<Tensor> parts;
  int64_t first = 0;
  for (size_t e = 0; e < sizes.size(); ++e) {
    parts.push_back(at::linear(x.narrow(0, first, sizes[e]), weight[static_cast<int64_t>(e)]));
    first += sizes[e];
  }
  return at::cat(parts);
}

}  // namespace weft
