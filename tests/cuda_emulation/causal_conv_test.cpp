#include "models/kernels/causal_conv.h"

#include "models/kernels/cuda/causal_conv.h"
#include "models/kernels/cuda/partials.h"
#include "models/kernels/dispatch.h"
#include "tests/cuda_emulation/results.h"
#include "tests/kernels/conv_case.h"

namespace weft {
namespace {

std::vector<Tensor> on_cpu(const ConvInput& in, at::ScalarType type) {
  return conv_results(
      [](const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& starts) {
        return causal_conv_silu(x, weight, bias, starts);
      },
      in, type);
}

template <class S>
Tensor summed(const Tensor& partials, at::IntArrayRef sizes, at::ScalarType type) {
  const Tensor out = blank(sizes, type);
  cuda::sum_partials<S>(values<const Compute<S>>(partials), partials.size(0), out.numel(),
                        values<S>(out), nullptr);
  return out;
}

// As conv_results; x and dy are parts of wider rows.
template <class S>
std::vector<Tensor> emulated_as(const ConvInput& in) {
  using C = Compute<S>;
  const at::ScalarType type = in.x.scalar_type(), wide = wide_type(type);
  const ConvShape shape{in.x.size(0), in.x.size(1), in.x.size(2), in.weight.size(1)};
  const auto strided = [&](const Tensor& t) {
    return blank({shape.batch, shape.time, shape.channels + 3}, type)
        .narrow(2, 1, shape.channels)
        .copy_(t);
  };
  const Tensor x = strided(in.x), dy = strided(in.dy), weight = in.weight.to(wide);
  const Tensor bias = in.bias.defined() ? in.bias.to(wide) : Tensor();
  const ConvInputs<S> inputs{.shape = shape,
                             .x = rows<const S>(x),
                             .weight = values<const C>(weight),
                             .bias = bias.defined() ? values<const C>(bias) : nullptr,
                             .starts = values<const bool>(in.starts)};
  const Tensor y = blank(in.x.sizes(), type), dx = blank(in.x.sizes(), type);
  cuda::causal_conv(ConvForward<S>{inputs, rows<S>(y)}, nullptr);
  const int64_t tiles = shape.batch * ((shape.time + kConvSteps - 1) / kConvSteps);
  const Tensor dweight = blank({tiles, shape.channels, shape.taps}, wide);
  const Tensor dbias = blank({tiles, shape.channels}, wide);
  cuda::causal_conv(
      ConvBackward<S>{inputs, rows<const S>(dy), rows<S>(dx), values<C>(dweight), values<C>(dbias)},
      nullptr);
  std::vector<Tensor> results = {y, dx, summed<S>(dweight, in.weight.sizes(), type)};
  if (bias.defined()) results.push_back(summed<S>(dbias, in.bias.sizes(), type));
  return results;
}

std::vector<Tensor> emulated(const ConvInput& in) {
  return in_both_orders([&] {
    std::vector<Tensor> results;
    with_storage(in.x, [&](auto storage) { results = emulated_as<decltype(storage)>(in); });
    return results;
  });
}

TEST(CausalConvEmulated, IsAsExactAsItsCpuTwin) {
  for (const ConvCase& c : {ConvCase{1, 1, 1, 4}, ConvCase{2, 59, 3, 3}, ConvCase{1, 97, 59, 2},
                            ConvCase{2, 130, 65, 4}, ConvCase{1, 64, 33, 1}, ConvCase{1, 80, 3, 70},
                            ConvCase{1, 150, 5, 128}}) {
    for (const at::ScalarType type : kStorageTypes) {
      for (const bool has_bias : {true, false}) {
        SCOPED_TRACE(testing::PrintToString(c) + " " + at::toString(type));
        ConvInput in = conv_input(c, type);
        if (!has_bias) in.bias = Tensor();
        const auto plain = conv_results(causal_conv_silu_reference, in, type);
        expect_all_as_exact(emulated(in), plain, on_cpu(in, at::kDouble));
      }
    }
  }
}

TEST(CausalConvEmulated, TakesEmptyInput) {
  for (const ConvCase& c : {ConvCase{0, 5, 3, 4}, ConvCase{2, 0, 3, 4}, ConvCase{2, 5, 0, 4}}) {
    const auto results = emulated(conv_input(c, at::kFloat));
    EXPECT_EQ(results[0].numel(), 0);
  }
}

TEST(CausalConvEmulatedDeathTest, TooManyTapsAreAProgrammersError) {
  const ConvInput in = conv_input({1, 5, 3, cuda::kConvMaxTaps + 1}, at::kFloat);
  EXPECT_DEATH(emulated_as<float>(in), "129 taps, of at most 128");
}

}  // namespace
}  // namespace weft
