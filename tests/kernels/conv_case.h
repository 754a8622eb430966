#pragma once
// Inputs of the causal convolution for tests, and all that comes out of it.
#include <ostream>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>

#include "models/kernels/causal_conv.h"

namespace weft {

struct ConvCase {
  int64_t batch, time, channels, taps;
};

inline void PrintTo(const ConvCase& c, std::ostream* out) {
  *out << c.batch << "x" << c.time << "x" << c.channels << "x" << c.taps;
}

struct ConvInput {
  Tensor x, weight, bias, starts, dy;
};

// Random input, the same for the same case; about every tenth token starts a document.
inline ConvInput conv_input(const ConvCase& c, at::ScalarType type) {
  const at::Generator random = at::detail::createCPUGenerator(5);
  const auto normal = [&](std::vector<int64_t> sizes) {
    return at::randn(sizes, random, at::TensorOptions(at::kDouble)).to(type);
  };
  const std::vector<int64_t> sizes = {c.batch, c.time, c.channels};
  const Tensor x = normal(sizes), weight = normal({c.channels, c.taps});
  const Tensor bias = normal({c.channels}), dy = normal(sizes);
  const Tensor starts = at::rand({c.batch, c.time}, random, at::TensorOptions(at::kDouble)) < 0.1;
  return {x, weight, bias, starts, dy};
}

// y, dx, dweight and (with a bias) dbias of `conv`, computed in `type`.
template <class Conv>
std::vector<Tensor> conv_results(const Conv& conv, const ConvInput& in, at::ScalarType type) {
  const auto leaf = [&](const Tensor& t) {
    return t.defined()
               ? t.detach().to(type, /*non_blocking=*/false, /*copy=*/true).set_requires_grad(true)
               : t;
  };
  const Tensor x = leaf(in.x), weight = leaf(in.weight), bias = leaf(in.bias);
  const Tensor y = conv(x, weight, bias, in.starts);
  y.backward(in.dy.to(type));
  std::vector<Tensor> out = {y.detach(), x.grad(), weight.grad()};
  if (bias.defined()) out.push_back(bias.grad());
  return out;
}

}  // namespace weft
