#pragma once
// Gradients against central differences, in fp64.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "base/tensor.h"

namespace weft {

// Compares `gradient` of the scalar `f` with (f(x + h) - f(x - h)) / 2h at up to `samples` elements
// of `x`, spread over it. With h = 1e-5 the difference's own error is about h^2 = 1e-10 plus
// rounding, 1e-16 / h = 1e-11 of f; 1e-7 of the gradient's scale leaves room for third derivatives.
inline void expect_gradient(const std::string& name, const std::function<double()>& f,
                            const Tensor& x, const Tensor& gradient, int64_t samples = 16) {
  constexpr double kStep = 1e-5;
  const at::NoGradGuard no_grad;
  ASSERT_TRUE(gradient.defined()) << name;
  ASSERT_TRUE(x.is_contiguous()) << name;
  double* values = x.data_ptr<double>();
  const Tensor flat = gradient.reshape(-1);
  const double scale = std::max(flat.abs().max().item<double>(), 1e-3);
  const int64_t n = x.numel();
  const int64_t count = std::min(n, samples);
  for (int64_t s = 0; s < count; ++s) {
    const int64_t i = s * n / count;
    const double old = values[i];
    values[i] = old + kStep;
    const double above = f();
    values[i] = old - kStep;
    const double below = f();
    values[i] = old;
    EXPECT_NEAR(flat[i].item<double>(), (above - below) / (2 * kStep), 1e-7 * scale)
        << name << " element " << i;
  }
}

}  // namespace weft
