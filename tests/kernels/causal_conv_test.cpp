#include "models/kernels/causal_conv.h"

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/kernels/conv_case.h"
#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"
#include "tests/support/gradient_check.h"

namespace weft {
namespace {

auto kernel(cpu::Isa isa) {
  return [isa](const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& starts) {
    return causal_conv_silu(x, weight, bias, starts, isa);
  };
}

std::vector<Tensor> best_results(const ConvInput& in) {
  return conv_results(kernel(cpu::best_isa()), in, in.x.scalar_type());
}

class CausalConvSizes : public testing::TestWithParam<ConvCase> {};

TEST_P(CausalConvSizes, IsAsExactAsPlainOperators) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const ConvInput in = conv_input(GetParam(), type);
    const auto truth = conv_results(causal_conv_silu_reference, in, at::kDouble);
    const auto plain = conv_results(causal_conv_silu_reference, in, type);
    for (const cpu::Isa isa : supported_isas()) {
      const auto ours = conv_results(kernel(isa), in, type);
      for (size_t i = 0; i < ours.size(); ++i) expect_as_exact(ours[i], plain[i], truth[i]);
    }
  }
}

TEST_P(CausalConvSizes, EqualsTheReferenceInDouble) {
  const ConvInput in = conv_input(GetParam(), at::kDouble);
  const auto truth = conv_results(causal_conv_silu_reference, in, at::kDouble);
  for (const cpu::Isa isa : supported_isas()) {
    const auto ours = conv_results(kernel(isa), in, at::kDouble);
    for (size_t i = 0; i < ours.size(); ++i) {
      // Rounding of 1e-16 at each of at most some thousand additions.
      EXPECT_LE(max_difference(ours[i], truth[i]), 1e-13 * max_magnitude(truth[i])) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, CausalConvSizes,
                         testing::Values(ConvCase{1, 1, 1, 4}, ConvCase{2, 59, 3, 3},
                                         ConvCase{1, 97, 59, 2}, ConvCase{2, 130, 129, 4},
                                         ConvCase{1, 1025, 17, 4}, ConvCase{1, 64, 1025, 1},
                                         ConvCase{2, 66, 5, 7}, ConvCase{1, 80, 3, 70}));

TEST(CausalConv, PassesCentralDifferences) {
  for (const cpu::Isa isa : supported_isas()) {
    const ConvInput in = conv_input({2, 70, 5, 4}, at::kDouble);
    const auto grads = conv_results(kernel(isa), in, at::kDouble);
    const auto loss = [&] {
      return (causal_conv_silu(in.x, in.weight, in.bias, in.starts, isa) * in.dy)
          .sum()
          .item<double>();
    };
    expect_gradient("x", loss, in.x, grads[1], 64);
    expect_gradient("weight", loss, in.weight, grads[2]);
    expect_gradient("bias", loss, in.bias, grads[3]);
  }
}

TEST(CausalConv, WorksWithoutABias) {
  ConvInput in = conv_input({2, 70, 20, 4}, at::kDouble);
  in.bias = Tensor{};
  const auto ours = best_results(in);
  const auto truth = conv_results(causal_conv_silu_reference, in, at::kDouble);
  for (size_t i = 0; i < truth.size(); ++i) {
    EXPECT_LE(max_difference(ours[i], truth[i]), 1e-13 * max_magnitude(truth[i])) << i;
  }
}

// Master weights stay in fp32 while activations are bf16; their gradient comes back in fp32.
TEST(CausalConv, TakesWideParametersWithBf16Activations) {
  const ConvInput in = conv_input({1, 20, 6, 4}, at::kBFloat16);
  const Tensor weight = in.weight.to(at::kFloat).set_requires_grad(true);
  const Tensor y = causal_conv_silu(in.x, weight, in.bias.to(at::kFloat), in.starts);
  y.backward(in.dy);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_EQ(weight.grad().scalar_type(), at::kFloat);
}

// Bit for bit, wherever a start stands in a tile, and for every token a document of its own.
TEST(CausalConv, PackedDocumentsGiveWhatEachGivesAlone) {
  constexpr int64_t kTime = 200;
  std::vector<int64_t> every(kTime);
  for (int64_t t = 0; t < kTime; ++t) every[t] = t;
  for (std::vector<int64_t> bounds :
       {std::vector<int64_t>{0, 1, 3, 70}, {0, 63, 64, 65, 128}, {0, 62, 130, 199}, every}) {
    ConvInput in = conv_input({1, kTime, 33, 4}, at::kFloat);
    in.starts = at::zeros({1, kTime}, at::kBool);
    for (const int64_t start : bounds) in.starts.select(1, start).fill_(true);
    const auto packed = best_results(in);
    bounds.push_back(kTime);
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      const int64_t first = bounds[i], length = bounds[i + 1] - first;
      const auto part = [&](const Tensor& t) { return t.narrow(1, first, length); };
      const auto alone =
          best_results({part(in.x), in.weight, in.bias, part(in.starts), part(in.dy)});
      EXPECT_TRUE(part(packed[0]).equal(alone[0])) << "y of the document at " << first;
      EXPECT_TRUE(part(packed[1]).equal(alone[1])) << "dx of the document at " << first;
    }
  }
}

TEST(CausalConv, ReadsSlicesAndTransposedInput) {
  const ConvInput dense = conv_input({2, 70, 24, 4}, at::kFloat);
  ConvInput in = dense;
  const Tensor wide = at::zeros({2, 70, 48});
  in.x = wide.narrow(2, 12, 24);
  in.x.copy_(dense.x);
  in.weight = dense.weight.t().contiguous().t();
  in.starts = dense.starts.t().contiguous().t();
  in.dy = dense.dy.transpose(1, 2).contiguous().transpose(1, 2);
  EXPECT_TRUE(causal_conv_silu(in.x, in.weight, in.bias, in.starts)
                  .equal(causal_conv_silu(dense.x, dense.weight, dense.bias, dense.starts)));
  const auto ours = best_results(in), expected = best_results(dense);
  for (size_t i = 0; i < ours.size(); ++i) EXPECT_TRUE(ours[i].equal(expected[i])) << i;
}

TEST(CausalConv, TakesEmptyInput) {
  for (const ConvCase& size : {ConvCase{0, 5, 3, 4}, ConvCase{2, 0, 3, 4}, ConvCase{2, 5, 0, 4}}) {
    const ConvInput in = conv_input(size, at::kFloat);
    const auto out = best_results(in);
    EXPECT_EQ(out[0].sizes(), in.x.sizes());
    EXPECT_EQ(max_magnitude(out[2]), 0);
    EXPECT_EQ(max_magnitude(out[3]), 0);
  }
}

TEST(CausalConv, IsBitEqualForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  const ConvInput in = conv_input({3, 200, 300, 4}, at::kFloat);
  at::set_num_threads(1);
  const auto one = best_results(in);
  for (const int count : {1, 2, 3, 7}) {
    at::set_num_threads(count);
    const auto many = best_results(in);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(many[i])) << i;
  }
  at::set_num_threads(threads);
}

TEST(CausalConvDeathTest, WrongShapeIsAProgrammersError) {
  const ConvInput in = conv_input({1, 5, 3, 4}, at::kFloat);
  EXPECT_DEATH(causal_conv_silu(in.x, in.weight.narrow(0, 0, 2), in.bias, in.starts),
               "causal_conv_silu of x \\[1, 5, 3\\] with a weight of \\[2, 4\\]");
  EXPECT_DEATH(causal_conv_silu(in.x[0], in.weight, in.bias, in.starts), "of x \\[5, 3\\]");
  EXPECT_DEATH(causal_conv_silu(in.x, in.weight, in.weight, in.starts), "bias must be \\[3\\]");
  EXPECT_DEATH(causal_conv_silu(in.x, in.weight, in.bias, in.starts.narrow(1, 0, 4)),
               "starts must be bool \\[1, 5\\] on cpu, not Bool \\[1, 4\\]");
  EXPECT_DEATH(causal_conv_silu(in.x, in.weight, in.bias, in.starts.to(at::kInt)),
               "starts must be bool");
}

TEST(CausalConvDeathTest, WrongTypeIsAProgrammersError) {
  const ConvInput in = conv_input({1, 5, 3, 4}, at::kFloat);
  EXPECT_DEATH(causal_conv_silu(in.x.to(at::kHalf), in.weight, in.bias, in.starts),
               "causal_conv_silu is for fp32, fp64 and bf16");
  EXPECT_DEATH(causal_conv_silu(in.x, in.weight.to(at::kBFloat16), in.bias, in.starts),
               "weight and bias must be of x's type or fp32, not BFloat16");
}

TEST(CausalConvDeathTest, HasNoSecondDerivatives) {
  const ConvInput in = conv_input({1, 5, 3, 4}, at::kFloat);
  const Tensor x = in.x.detach().clone().set_requires_grad(true);
  const Tensor y = causal_conv_silu(x, in.weight, in.bias, in.starts).sum();
  EXPECT_DEATH(torch::autograd::grad({y}, {x}, {}, true, /*create_graph=*/true),
               "causal_conv_silu is differentiated at most once");
}

}  // namespace
}  // namespace weft
