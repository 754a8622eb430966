#include "models/kernels/rms_norm.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"
#include "tests/support/gradient_check.h"

namespace weft {
namespace {

class RmsNormWidth : public testing::TestWithParam<int64_t> {};

using Norm = std::function<Tensor(const Tensor&, const Tensor&, double)>;

Norm ours_on(cpu::Isa isa) {
  return [isa](const Tensor& x, const Tensor& weight, double eps) {
    return rms_norm(x, weight, eps, {}, isa);
  };
}

// Output and gradients of `norm` in `type`, on the closed-form tensors rounded to `values`.
std::vector<Tensor> run(const Norm& norm, int64_t rows, int64_t width, at::ScalarType type,
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
    const auto plain = run(rms_norm_reference, 300, GetParam(), type, type);
    const auto truth = run(rms_norm_reference, 300, GetParam(), at::kDouble, type);
    for (const cpu::Isa isa : supported_isas()) {
      const auto ours = run(ours_on(isa), 300, GetParam(), type, type);
      for (size_t i = 0; i < ours.size(); ++i) expect_as_exact(ours[i], plain[i], truth[i]);
    }
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

// The types of the residual stream and of what is added to it, computed with and rounded to.
struct Types {
  at::ScalarType stream, added;
};

using AddNorm = std::function<AddedNorm(const Tensor&, const Tensor&, const Tensor&)>;

// Sum, norm and gradients; something is asked of both results.
std::vector<Tensor> run_added(const AddNorm& f, int64_t width, Types compute, Types values) {
  const auto leaf = [](const Tensor& t, at::ScalarType from, at::ScalarType to) {
    return t.to(from).to(to).set_requires_grad(true);
  };
  const auto weight_type = compute.stream == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor x = leaf(fill({300, width}, 1), values.stream, compute.stream);
  const Tensor added = leaf(fill({300, width}, 4), values.added, compute.added);
  const Tensor weight = leaf(fill({width}, 2, 0.3, 1.0), at::kFloat, weight_type);
  const AddedNorm out = f(x, added, weight);
  const auto asked = [&](const Tensor& t, double phase) {
    return (t.to(at::kDouble) * fill({300, width}, phase).to(values.added).to(at::kDouble)).sum();
  };
  (asked(out.sum, 3) + asked(out.normed, 5)).backward();
  return {out.sum, out.normed, x.grad(), added.grad(), weight.grad()};
}

TEST_P(RmsNormWidth, OfASumIsAsExactAsPlainOperators) {
  const AddNorm plain = [](const Tensor& x, const Tensor& added, const Tensor& weight) {
    const Tensor sum = x + added;
    return AddedNorm{sum, rms_norm_reference(sum, weight, 1e-6).to(added.scalar_type())};
  };
  for (const Types types : {Types{at::kFloat, at::kFloat}, Types{at::kBFloat16, at::kBFloat16},
                            Types{at::kFloat, at::kBFloat16}, Types{at::kDouble, at::kDouble}}) {
    const auto twin = run_added(plain, GetParam(), types, types);
    const auto truth = run_added(plain, GetParam(), {at::kDouble, at::kDouble}, types);
    for (const cpu::Isa isa : supported_isas()) {
      const AddNorm fused = [isa](const Tensor& x, const Tensor& added, const Tensor& weight) {
        return add_rms_norm(x, added, weight, 1e-6, isa);
      };
      const auto ours = run_added(fused, GetParam(), types, types);
      for (size_t i = 0; i < ours.size(); ++i) {
        EXPECT_EQ(ours[i].scalar_type(), twin[i].scalar_type());
        expect_as_exact(ours[i], twin[i], truth[i]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, RmsNormWidth, testing::Values(1, 3, 16, 59, 97, 1025));

TEST(RmsNorm, IsBitEqualForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = run(ours_on(cpu::best_isa()), 1000, 33, at::kFloat, at::kFloat);
  at::set_num_threads(3);
  const auto three = run(ours_on(cpu::best_isa()), 1000, 33, at::kFloat, at::kFloat);
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

TEST(RmsNorm, RoundsAnFp32StreamToBf16Once) {
  const Tensor x = fill({7, 33}, 1).to(at::kFloat), weight = fill({33}, 2).to(at::kFloat);
  const Tensor y = rms_norm(x, weight, 1e-6, at::kBFloat16);
  EXPECT_TRUE(y.equal(rms_norm(x, weight, 1e-6).to(at::kBFloat16)));
}

// Columns of a wider tensor, as a joint projection leaves them.
TEST(RmsNorm, ReadsRowsInPlace) {
  const Tensor wide = fill({2, 9, 50}, 1), weight = fill({20}, 2);
  const Tensor part = wide.narrow(2, 11, 20);
  EXPECT_TRUE(rms_norm(part, weight, 1e-6).equal(rms_norm(part.contiguous(), weight, 1e-6)));
}

// Only one of the two results is looked at.
TEST(RmsNorm, OfASumTakesTheGradientOfEitherResult) {
  const auto leaf = [](double phase) {
    return fill({6, 10}, phase).to(at::kFloat).set_requires_grad(true);
  };
  const Tensor weight = fill({10}, 2).to(at::kFloat).set_requires_grad(true);
  const Tensor x = leaf(1), added = leaf(4).detach().to(at::kBFloat16).set_requires_grad(true);
  const Tensor asked = fill({6, 10}, 3).to(at::kFloat);
  add_rms_norm(x, added, weight, 1e-6).sum.backward(asked);
  EXPECT_TRUE(x.grad().equal(asked));
  EXPECT_TRUE(added.grad().equal(asked.to(at::kBFloat16)));
  EXPECT_FALSE(weight.grad().defined());

  const Tensor y = leaf(1), same = leaf(1);
  add_rms_norm(y, leaf(4), weight, 1e-6).normed.backward(asked);
  rms_norm(same + leaf(4), weight, 1e-6).backward(asked);
  EXPECT_TRUE(y.grad().equal(same.grad()));
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

TEST(RmsNormDeathTest, RefusesWhatItCannotDo) {
  const Tensor x = fill({3, 8}, 1), weight = fill({8}, 2);
  EXPECT_DEATH(rms_norm(x, weight.narrow(0, 0, 7), 1e-6),
               "rms_norm of \\[3, 8\\] on cpu with a weight of \\[7\\]");
  EXPECT_DEATH(rms_norm(x, weight, 1e-6, at::kBFloat16), "not from Double to BFloat16");
  EXPECT_DEATH(add_rms_norm(x, x.narrow(0, 0, 2), weight, 1e-6), "add_rms_norm of \\[3, 8\\] and");
}

}  // namespace
}  // namespace weft
