// The causal convolution from one window to the next, as decoding runs it.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/causal_conv.h"
#include "tests/kernels/conv_case.h"
#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

// At the beginning of a sequence.
Tensor empty_window(const ConvInput& in) {
  return at::zeros({in.x.size(0), in.weight.size(1) - 1, in.x.size(2)}, in.x.options());
}

// y of the sequence in calls of `lengths` tokens that hand on `window`.
Tensor convolve_in_parts(const ConvInput& in, const std::vector<int64_t>& lengths, Tensor& window,
                         cpu::Isa isa) {
  std::vector<Tensor> parts;
  int64_t first = 0;
  for (const int64_t length : lengths) {
    parts.push_back(causal_conv_silu_with_state(in.x.narrow(1, first, length), in.weight, in.bias,
                                                in.starts.narrow(1, first, length), window, isa));
    first += length;
  }
  return at::cat(parts, 1);
}

class ConvStateSizes : public testing::TestWithParam<ConvCase> {};

// Bit for bit, as a window's zeros add nothing; single tokens are another kernel on the CPU, but
// add up in the same order.
TEST_P(ConvStateSizes, TwoCallsGiveWhatOneGivesWhereverTheyAreCut) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const ConvInput in = conv_input(GetParam(), type);
    const int64_t time = GetParam().time;
    for (const cpu::Isa isa : supported_isas()) {
      const Tensor whole = causal_conv_silu(in.x, in.weight, in.bias, in.starts, isa);
      Tensor last = empty_window(in);
      EXPECT_TRUE(convolve_in_parts(in, {time}, last, isa).equal(whole));
      for (int64_t cut = 0; cut <= time; ++cut) {
        Tensor window = empty_window(in);
        EXPECT_TRUE(convolve_in_parts(in, {cut, time - cut}, window, isa).equal(whole)) << cut;
        EXPECT_TRUE(window.equal(last)) << cut;
      }
    }
  }
}

TEST_P(ConvStateSizes, TokenByTokenGivesWhatOneCallGives) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const ConvInput in = conv_input(GetParam(), type);
    const std::vector<int64_t> tokens(GetParam().time, 1);
    for (const cpu::Isa isa : supported_isas()) {
      Tensor last = empty_window(in), window = empty_window(in);
      const Tensor whole = convolve_in_parts(in, {GetParam().time}, last, isa);
      EXPECT_TRUE(convolve_in_parts(in, tokens, window, isa).equal(whole));
      EXPECT_TRUE(window.equal(last));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, ConvStateSizes,
                         testing::Values(ConvCase{1, 1, 1, 4}, ConvCase{3, 59, 59, 4},
                                         ConvCase{1, 97, 1, 3}, ConvCase{3, 33, 97, 1},
                                         ConvCase{1, 40, 129, 3}, ConvCase{1, 70, 97, 4},
                                         ConvCase{3, 20, 17, 7}));

// Decoding does any range of channels at a time, whichever threads have time for them: whether a
// channel is in a full vector or in the rest of one must not change a bit.
TEST(ConvState, ATokensChannelsDoNotDependOnThoseBesideThem) {
  constexpr int64_t kChannels = 150;
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const int64_t taps : {3, 4}) {
      const ConvInput in = conv_input({2, 1, kChannels, taps}, type);
      const Tensor before = at::randn({2, taps - 1, kChannels}).to(type);
      in.starts.zero_();
      for (const cpu::Isa isa : supported_isas()) {
        Tensor window = before.clone();
        const Tensor whole = convolve_in_parts(in, {1}, window, isa);
        for (const auto& [first, end] : std::vector<std::pair<int64_t, int64_t>>{
                 {0, 1}, {1, 6}, {5, 18}, {13, 28}, {7, 23}, {3, 20}, {9, 150}}) {
          const int64_t count = end - first;
          const ConvInput part = {in.x.narrow(2, first, count),
                                  in.weight.narrow(0, first, count),
                                  in.bias.defined() ? in.bias.narrow(0, first, count) : Tensor{},
                                  in.starts,
                                  {}};
          Tensor part_window = before.narrow(2, first, count).contiguous();
          EXPECT_TRUE(
              convolve_in_parts(part, {1}, part_window, isa).equal(whole.narrow(2, first, count)))
              << type << ", channels from " << first;
          EXPECT_TRUE(part_window.equal(window.narrow(2, first, count)));
        }
      }
    }
  }
}

TEST(ConvState, TheWindowHoldsTheLastInputsOfItsDocument) {
  const Tensor x = at::arange(1, 6, at::TensorOptions(at::kFloat)).reshape({1, 5, 1});
  const Tensor weight = at::ones({1, 4}), starts = at::zeros({1, 5}, at::kBool);
  starts.select(1, 3).fill_(true);
  const auto window_after = [&](const std::vector<int64_t>& lengths) {
    Tensor window = at::full({1, 3, 1}, 9.0F);
    convolve_in_parts({x, weight, Tensor{}, starts, {}}, lengths, window, cpu::best_isa());
    return std::vector<float>(window.data_ptr<float>(), window.data_ptr<float>() + 3);
  };
  EXPECT_EQ(window_after({0}), (std::vector<float>{9, 9, 9}));
  EXPECT_EQ(window_after({1}), (std::vector<float>{9, 9, 1}));
  EXPECT_EQ(window_after({2}), (std::vector<float>{9, 1, 2}));
  EXPECT_EQ(window_after({3}), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(window_after({4}), (std::vector<float>{0, 0, 4}));
  EXPECT_EQ(window_after({3, 1}), (std::vector<float>{0, 0, 4}));
  EXPECT_EQ(window_after({5}), (std::vector<float>{0, 4, 5}));
  EXPECT_EQ(window_after({1, 1, 1, 1, 1}), (std::vector<float>{0, 4, 5}));
}

TEST(ConvState, ADocumentsStartForgetsTheWindow) {
  for (const int64_t time : {1, 2, 9}) {
    const ConvInput in = conv_input({3, time, 59, 4}, at::kFloat);
    in.starts.zero_();
    in.starts.select(0, 1).select(0, 0).fill_(true);
    for (const cpu::Isa isa : supported_isas()) {
      Tensor fresh = empty_window(in), spoiled = at::randn(fresh.sizes());
      spoiled.select(0, 1).fill_(std::nan(""));
      const Tensor expected = convolve_in_parts(in, {time}, fresh, isa);
      const Tensor y = convolve_in_parts(in, {time}, spoiled, isa);
      for (const int64_t row : {0, 1, 2}) {
        EXPECT_EQ(y.select(0, row).equal(expected.select(0, row)), row == 1) << row;
      }
      EXPECT_TRUE(spoiled.select(0, 1).equal(fresh.select(0, 1)));
    }
  }
}

TEST(ConvState, ReadsSlicesAndWritesIntoALargerWindow) {
  for (const int64_t time : {1, 6}) {
    const ConvInput in = conv_input({2, time, 24, 4}, at::kFloat);
    Tensor expected_window = at::randn({2, 3, 24});
    const Tensor windows = at::cat({at::ones({1, 3, 24}), expected_window, at::ones({1, 3, 24})});
    Tensor window = windows.narrow(0, 1, 2);
    const Tensor xz = at::cat({in.x, in.x}, 2);
    const Tensor y =
        causal_conv_silu_with_state(xz.narrow(2, 24, 24), in.weight, in.bias, in.starts, window);
    EXPECT_TRUE(
        y.equal(causal_conv_silu_with_state(in.x, in.weight, in.bias, in.starts, expected_window)));
    EXPECT_TRUE(windows.narrow(0, 1, 2).equal(expected_window));
    EXPECT_TRUE(windows.select(0, 0).equal(windows.select(0, 3)));
  }
}

TEST(ConvState, TakesWideParametersWithBf16ActivationsAndNoBias) {
  ConvInput in = conv_input({2, 9, 20, 4}, at::kBFloat16);
  in.weight = in.weight.to(at::kFloat);
  in.bias = Tensor{};
  Tensor window = empty_window(in);
  const Tensor y = convolve_in_parts(in, {4, 1, 1, 3}, window, cpu::best_isa());
  EXPECT_TRUE(y.equal(causal_conv_silu(in.x, in.weight, in.bias, in.starts)));
}

TEST(ConvState, TakesEmptyInput) {
  for (const ConvCase& size : {ConvCase{0, 5, 3, 4}, ConvCase{0, 1, 3, 4}, ConvCase{2, 0, 3, 4},
                               ConvCase{2, 5, 0, 4}, ConvCase{2, 1, 0, 4}, ConvCase{2, 0, 3, 1}}) {
    const ConvInput in = conv_input(size, at::kFloat);
    Tensor window = empty_window(in).fill_(3);
    const Tensor y = convolve_in_parts(in, {size.time}, window, cpu::best_isa());
    EXPECT_EQ(y.sizes(), in.x.sizes());
    EXPECT_EQ(window.equal(empty_window(in).fill_(3)), size.time == 0 || window.numel() == 0);
  }
}

// So many channels that a single token, too, is worth several threads.
TEST(ConvState, IsBitEqualForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  const ConvInput in = conv_input({8, 1, 8193, 4}, at::kFloat);
  const Tensor before = at::randn({8, 3, 8193});
  at::set_num_threads(1);
  Tensor one_window = before.clone();
  const Tensor one = convolve_in_parts(in, {1}, one_window, cpu::best_isa());
  for (const int count : {2, 3, 7}) {
    at::set_num_threads(count);
    Tensor window = before.clone();
    EXPECT_TRUE(convolve_in_parts(in, {1}, window, cpu::best_isa()).equal(one)) << count;
    EXPECT_TRUE(window.equal(one_window)) << count;
  }
  at::set_num_threads(threads);
}

TEST(ConvStateDeathTest, WrongUseIsAProgrammersError) {
  const ConvInput in = conv_input({1, 5, 3, 4}, at::kFloat);
  Tensor window = at::zeros({1, 4, 3});
  EXPECT_DEATH(causal_conv_silu_with_state(in.x, in.weight, in.bias, in.starts, window),
               "window is .*\\[1, 4, 3\\], expected contiguous .*\\[1, 3, 3\\]");
  window = at::zeros({1, 3, 3});
  in.weight.set_requires_grad(true);
  EXPECT_DEATH(causal_conv_silu_with_state(in.x, in.weight, in.bias, in.starts, window),
               "causal_conv_silu_with_state has no gradients");
  const at::NoGradGuard no_grad;
  EXPECT_EQ(causal_conv_silu_with_state(in.x, in.weight, in.bias, in.starts, window).sizes(),
            in.x.sizes());
}

}  // namespace
}  // namespace weft
