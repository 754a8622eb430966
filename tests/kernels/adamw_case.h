#pragma once
// Parameters and an update of AdamW for tests, and what becomes of them.
#include <cmath>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/zeros_like.h>

#include "models/kernels/adamw.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {

inline constexpr AdamWStep kAdamWStep{.number = 3,
                                      .lr = 0.02,
                                      .beta1 = 0.9,
                                      .beta2 = 0.95,
                                      .eps = 1e-6,
                                      .weight_decay = 0.3,
                                      .gradient_scale = 0.4};

inline AdamWTensors adamw_parameter(at::IntArrayRef shape, at::ScalarType type, bool copied) {
  const auto made = [&](double phase) { return fill(shape.vec(), phase).to(type).contiguous(); };
  return {.master = made(0.1),
          .gradient = made(0.7),
          .m = made(1.3) * 0.1,
          .v = made(1.9).square() * 0.1,
          .copy = copied ? at::empty(shape, at::kBFloat16) : Tensor()};
}

// Sizes below, at and above a vector and a piece; some have copies if `copied`.
inline std::vector<AdamWTensors> adamw_parameters(at::ScalarType type, bool copied) {
  std::vector<AdamWTensors> all;
  for (const int64_t n : {1, 0, 15, 16, 17, 32767, 32768, 32769, 100003}) {
    all.push_back(adamw_parameter({n}, type, copied && n % 2 == 1));
  }
  all.push_back(adamw_parameter({5, 7, 3}, type, copied));
  return all;
}

// p after kAdamWStep, by plain operators in fp64.
inline AdamWTensors adamw_truth(const AdamWTensors& p) {
  const AdamWStep& step = kAdamWStep;
  const auto number = static_cast<double>(step.number);
  const Tensor g = p.gradient.to(at::kDouble) * step.gradient_scale;
  const Tensor m = p.m.to(at::kDouble) * step.beta1 + g * (1 - step.beta1);
  const Tensor v = p.v.to(at::kDouble) * step.beta2 + g * g * (1 - step.beta2);
  const Tensor m_hat = m / (1 - std::pow(step.beta1, number));
  const Tensor v_hat = v / (1 - std::pow(step.beta2, number));
  const Tensor start = p.master.to(at::kDouble);
  const Tensor decayed = start - start * (step.lr * step.weight_decay);
  return {.master = decayed - m_hat / (at::sqrt(v_hat) + step.eps) * step.lr,
          .gradient = at::zeros_like(p.gradient),
          .m = m,
          .v = v,
          .copy = {}};
}

// Expects p to be `truth`, and its copy the new master. All numbers are of order 1: a few roundings
// each.
inline void expect_updated(const AdamWTensors& p, const AdamWTensors& truth) {
  const double error = p.master.scalar_type() == at::kDouble ? 1e-15 : 3e-7;
  EXPECT_LE(max_difference(p.master, truth.master), error) << p.master.sizes();
  EXPECT_LE(max_difference(p.m, truth.m), error) << p.master.sizes();
  EXPECT_LE(max_difference(p.v, truth.v), error) << p.master.sizes();
  EXPECT_TRUE(p.gradient.cpu().equal(truth.gradient));
  if (!p.copy.defined()) return;
  EXPECT_TRUE(p.copy.equal(p.master.to(at::kBFloat16))) << p.master.sizes();
}

}  // namespace weft
