#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/causal_conv.h"
#include "tests/kernels/conv_case.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

// The convolution on the GPU of inputs that lie on the CPU; autograd carries the gradients back.
Tensor conv_on_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias,
                    const Tensor& starts) {
  return causal_conv_silu(x.to(at::kCUDA), weight.to(at::kCUDA), bias.to(at::kCUDA),
                          starts.to(at::kCUDA))
      .cpu();
}

Tensor conv_on_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const Tensor& starts) {
  return causal_conv_silu(x, weight, bias, starts);
}

class CausalConvCuda : public testing::TestWithParam<ConvCase> {};

TEST_P(CausalConvCuda, IsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const ConvInput in = conv_input(GetParam(), type);
    const auto truth = conv_results(conv_on_cpu, in, at::kDouble);
    const auto plain = conv_results(causal_conv_silu_reference, in, type);
    const auto ours = conv_results(conv_on_cuda, in, type);
    for (size_t i = 0; i < ours.size(); ++i) expect_as_exact(ours[i], plain[i], truth[i]);
  }
}

TEST_P(CausalConvCuda, EqualsItsCpuTwinInDouble) {
  WEFT_NEEDS_CUDA_DEVICE();
  const ConvInput in = conv_input(GetParam(), at::kDouble);
  const auto truth = conv_results(conv_on_cpu, in, at::kDouble);
  const auto ours = conv_results(conv_on_cuda, in, at::kDouble);
  for (size_t i = 0; i < ours.size(); ++i) {
    // Rounding of 1e-16 at each of at most some thousand additions.
    EXPECT_LE(max_difference(ours[i], truth[i]), 1e-13 * max_magnitude(truth[i])) << i;
  }
}

TEST_P(CausalConvCuda, IsBitEqualInTwoRuns) {
  WEFT_NEEDS_CUDA_DEVICE();
  const ConvInput in = conv_input(GetParam(), at::kFloat);
  const auto first = conv_results(conv_on_cuda, in, at::kFloat);
  const auto second = conv_results(conv_on_cuda, in, at::kFloat);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(first[i].equal(second[i])) << i;
}

// In two calls that hand on a window, the first of which may be a single token.
TEST_P(CausalConvCuda, InPartsIsBitEqualToOneCall) {
  WEFT_NEEDS_CUDA_DEVICE();
  const ConvInput in = conv_input(GetParam(), at::kFloat);
  const int64_t time = GetParam().time;
  const Tensor x = in.x.to(at::kCUDA), starts = in.starts.to(at::kCUDA);
  const Tensor weight = in.weight.to(at::kCUDA), bias = in.bias.to(at::kCUDA);
  const Tensor whole = causal_conv_silu(x, weight, bias, starts);
  for (const int64_t cut : {int64_t{0}, int64_t{1}, time / 2}) {
    Tensor window =
        at::zeros({GetParam().batch, GetParam().taps - 1, GetParam().channels}, x.options());
    const auto part = [&](int64_t first, int64_t length) {
      return causal_conv_silu_with_state(x.narrow(1, first, length), weight, bias,
                                         starts.narrow(1, first, length), window);
    };
    const Tensor first = part(0, cut), second = part(cut, time - cut);
    EXPECT_TRUE(at::cat({first, second}, 1).equal(whole)) << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, CausalConvCuda,
                         testing::Values(ConvCase{1, 1, 1, 4}, ConvCase{2, 59, 3, 3},
                                         ConvCase{1, 97, 59, 2}, ConvCase{2, 130, 129, 4},
                                         ConvCase{1, 1025, 17, 4}, ConvCase{1, 64, 1025, 1},
                                         ConvCase{1, 80, 3, 70}));

TEST(CausalConvCudaEdges, TakesEmptyInput) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const ConvCase& size : {ConvCase{0, 5, 3, 4}, ConvCase{2, 0, 3, 4}, ConvCase{2, 5, 0, 4}}) {
    const ConvInput in = conv_input(size, at::kFloat);
    const auto results = conv_results(conv_on_cuda, in, at::kFloat);
    EXPECT_EQ(results[0].sizes(), in.x.sizes());
    EXPECT_EQ(max_magnitude(results[2]), 0);
    EXPECT_EQ(max_magnitude(results[3]), 0);
  }
}

}  // namespace
}  // namespace weft
