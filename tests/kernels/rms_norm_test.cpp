#include "models/kernels/rms_norm.h"

#include <cmath>
#include <cstring>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "tests/support/closeness.h"
#include "tests/support/fill.h"
#include "tests/support/gradient_check.h"

namespace weft {
namespace {

class RmsNormWidth : public testing::TestWithParam<int64_t> {};

using Norm = Tensor (*)(const Tensor&, const Tensor&, double);

// Output and gradients of `norm` in `type`, on the closed-form tensors rounded to `values`.
std::vector<Tensor> run(Norm norm, int64_t rows, int64_t width, at::ScalarType type,
                        at::ScalarType values) {
  const auto weight_type = type == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor x = fill({rows, width}, 1).to(values).to(type).set_requires_grad(true);
  const Tensor weight =
      fill({width}, 2, 0.3, 1.0).to(values).to(weight_type).set_requires_grad(true);
  const Tensor y = norm(x, weight, 1e-6);
  (y.to(at::kDouble) * fill({rows, width}, 3).to(values).to(at::kDouble)).sum().backward();
  return {y, x.grad(), weight.grad()};
}

TEST_P(RmsNormWidth, IsAsExactAsPlainOperators) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto ours = run(rms_norm, 300, GetParam(), type, type);
    const auto plain = run(rms_norm_reference, 300, GetParam(), type, type);
    const auto truth = run(rms_norm_reference, 300, GetParam(), at::kDouble, type);
    for (size_t i = 0; i < ours.size(); ++i) expect_as_exact(ours[i], plain[i], truth[i]);
  }
}

TEST_P(RmsNormWidth, PassesCentralDifferences) {
  const int64_t width = GetParam();
  const Tensor x = fill({5, width}, 1).set_requires_grad(true);
  const Tensor weight = fill({width}, 2, 0.3, 1.0).set_requires_grad(true);
  const auto loss = [&] { return closed_form_loss(rms_norm(x, weight, 1e-3)); };
  loss().backward();
  const auto value = [&] { return loss().item<double>(); };
  expect_gradient("x", value, x.detach(), x.grad());
  expect_gradient("weight", value, weight.detach(), weight.grad());
}

INSTANTIATE_TEST_SUITE_P(Odd, RmsNormWidth, testing::Values(1, 3, 16, 59, 97, 1025));

TEST(RmsNorm, IsBitEqualForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = run(rms_norm, 1000, 33, at::kFloat, at::kFloat);
  at::set_num_threads(3);
  const auto three = run(rms_norm, 1000, 33, at::kFloat, at::kFloat);
  at::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(three[i])) << i;
}

TEST(RmsNorm, TakesStridedAndEmptyInput) {
  const Tensor x = fill({4, 6}, 1).t();
  const Tensor weight = fill({4}, 2);
  EXPECT_LT(
      (rms_norm(x, weight, 1e-6) - rms_norm_reference(x, weight, 1e-6)).abs().max().item<double>(),
      1e-14);  // a few roundings of numbers near 1
  EXPECT_EQ(rms_norm(x.narrow(0, 0, 0), weight, 1e-6).numel(), 0);
}

TEST(RmsNorm, GivesNaNForEveryNaN) {
  const at::NoGradGuard no_grad;
  for (const uint32_t bits : {0x7FC00000u, 0x7F800001u, 0xFFFFFFFFu}) {
    const Tensor weight = at::ones({17}, at::kFloat);
    std::memcpy(weight.mutable_data_ptr<float>() + 16, &bits, sizeof bits);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const Tensor y = rms_norm(at::ones({1, 17}, type), weight, 1e-5);
      EXPECT_TRUE(std::isnan(y[0][16].item<float>())) << bits;
      EXPECT_TRUE(y.narrow(1, 0, 16).isfinite().all().item<bool>());
    }
  }
}

}  // namespace
}  // namespace weft
