#include "models/kernels/gated_rms_norm.h"

#include <cmath>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/closeness.h"
#include "tests/support/gradient_check.h"

namespace weft {
namespace {

constexpr double kEps = 1e-5;
constexpr NormOrder kOrders[] = {NormOrder::kGateFirst, NormOrder::kNormFirst};

struct Inputs {
  Tensor y, z, weight;
};

Inputs inputs(int64_t rows, int64_t width, at::ScalarType type) {
  const at::Generator random = at::detail::createCPUGenerator(3);
  const auto normal = [&](std::vector<int64_t> sizes) {
    return at::randn(sizes, random, at::TensorOptions(at::kDouble)).to(type);
  };
  return {normal({rows, width}), normal({rows, width}), normal({width})};
}

// Element by element, in the words of the equations. Two-dimensional, fp64.
Tensor slow(const Inputs& in, int64_t groups, NormOrder order) {
  const int64_t rows = in.y.size(0), width = in.y.size(1), size = width / groups;
  const Tensor out = at::empty_like(in.y);
  const auto y = in.y.accessor<double, 2>(), z = in.z.accessor<double, 2>();
  const auto w = in.weight.accessor<double, 1>();
  auto result = out.accessor<double, 2>();
  for (int64_t r = 0; r < rows; ++r) {
    const auto gate = [&](int64_t i) { return z[r][i] / (1 + std::exp(-z[r][i])); };
    const bool gate_first = order == NormOrder::kGateFirst;
    for (int64_t i = 0; i < width; ++i) {
      double squares = 0;
      for (int64_t j = i / size * size; j < (i / size + 1) * size; ++j) {
        squares += std::pow(gate_first ? y[r][j] * gate(j) : y[r][j], 2);
      }
      const double norm = 1 / std::sqrt(squares / static_cast<double>(size) + kEps);
      result[r][i] = y[r][i] * gate(i) * w[i] * norm;
    }
  }
  return out;
}

TEST(GatedRmsNorm, EqualsItsEquations) {
  for (const NormOrder order : kOrders) {
    for (const int64_t groups : {1, 2, 6}) {
      const Inputs in = inputs(7, 12, at::kDouble);
      const Tensor truth = slow(in, groups, order);
      // Some dozen roundings of 1e-16.
      EXPECT_LE(max_difference(gated_rms_norm(in.y, in.z, in.weight, groups, kEps, order), truth),
                1e-14 * max_magnitude(truth));
    }
  }
}

TEST(GatedRmsNorm, PassesCentralDifferences) {
  for (const NormOrder order : kOrders) {
    Inputs in = inputs(3, 10, at::kDouble);
    for (Tensor* t : {&in.y, &in.z, &in.weight}) t->set_requires_grad(true);
    const Tensor loss_weight = inputs(3, 10, at::kDouble).z.flip(1);
    const auto loss = [&] {
      return (gated_rms_norm(in.y, in.z, in.weight, 2, kEps, order) * loss_weight).sum();
    };
    loss().backward();
    const auto value = [&] { return loss().item<double>(); };
    expect_gradient("y", value, in.y, in.y.grad());
    expect_gradient("z", value, in.z, in.z.grad());
    expect_gradient("weight", value, in.weight, in.weight.grad());
  }
}

// The weight is not rounded to bf16 before it multiplies, and the result is rounded once: no bf16
// is closer to the truth, but for what fp32 loses before.
TEST(GatedRmsNorm, RoundsOnce) {
  for (const NormOrder order : kOrders) {
    Inputs in = inputs(59, 96, at::kBFloat16);
    in.weight = inputs(59, 96, at::kFloat).weight;
    const Tensor ours = gated_rms_norm(in.y, in.z, in.weight, 3, kEps, order);
    EXPECT_EQ(ours.scalar_type(), at::kBFloat16);
    const Inputs wide{in.y.to(at::kDouble), in.z.to(at::kDouble), in.weight.to(at::kDouble)};
    const Tensor truth = slow(wide, 3, order);
    const Tensor error = (ours.to(at::kDouble) - truth).abs();
    EXPECT_TRUE((error <= truth.abs() * (1.0 / 256 + 1e-5)).all().item<bool>());
  }
}

TEST(GatedRmsNorm, TakesSlicesAndEmptyInput) {
  const Inputs in = inputs(5, 12, at::kFloat);
  const Tensor y = in.y.t().contiguous().t(), z = in.z.t().contiguous().t();
  for (const NormOrder order : kOrders) {
    const Tensor expected = gated_rms_norm(in.y, in.z, in.weight, 2, kEps, order);
    EXPECT_LE(max_difference(gated_rms_norm(y, z, in.weight, 2, kEps, order), expected),
              1e-6 * max_magnitude(expected));
    EXPECT_EQ(gated_rms_norm(in.y.narrow(0, 0, 0), in.z.narrow(0, 0, 0), in.weight, 2, kEps, order)
                  .sizes(),
              at::IntArrayRef({0, 12}));
  }
}

TEST(GatedRmsNorm, GivesZeroForZero) {
  for (const NormOrder order : kOrders) {
    const Tensor y = gated_rms_norm(at::zeros({2, 4}), at::full({2, 4}, 3.0), at::full({4}, 2.0), 2,
                                    kEps, order);
    EXPECT_TRUE(y.equal(at::zeros({2, 4})));
  }
}

TEST(GatedRmsNormDeathTest, WrongShapeIsAProgrammersError) {
  const Inputs in = inputs(5, 12, at::kFloat);
  EXPECT_DEATH(gated_rms_norm(in.y, in.z, in.weight, 5, kEps, NormOrder::kGateFirst),
               "gated_rms_norm of \\[5, 12\\] in 5 groups");
  EXPECT_DEATH(
      gated_rms_norm(in.y, in.z.narrow(0, 0, 4), in.weight, 2, kEps, NormOrder::kGateFirst),
      "with a gate .* \\[4, 12\\]");
}

}  // namespace
}  // namespace weft
