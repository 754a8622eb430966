#pragma once
// The closed-form tensors of spec/models.md 21: entry m (row-major) is c + a sin(0.7 m + phi).
#include <cmath>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include "base/tensor.h"

namespace weft {

inline Tensor fill(std::vector<int64_t> shape, double phi, double a = 1.0, double c = 0.0) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  const Tensor m = at::arange(n, at::kDouble);
  return ((m * 0.7 + phi).sin() * a + c).reshape(shape).clone();
}

// J = sum_m out[m] cos(0.3 m).
inline Tensor closed_form_loss(const Tensor& out) {
  const Tensor m = at::arange(out.numel(), at::kDouble);
  return (out.reshape(-1).to(at::kDouble) * (m * 0.3).cos()).sum();
}

}  // namespace weft
