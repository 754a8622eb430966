#include "models/kernels/layer_norm.h"

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>
#include <gtest/gtest.h>

#include "models/kernels/dispatch.h"
#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr double kEps = 1e-5;

struct Inputs {
  Tensor x, weight, bias, dy;
};

Inputs inputs(std::vector<int64_t> sizes, at::ScalarType type) {
  const at::ScalarType wide = wide_type(type);
  const int64_t width = sizes.back();
  return {.x = (fill(sizes, 0.3, 2) + 3).to(type),
          .weight = (fill({width}, 1.1) + 1).to(wide),
          .bias = fill({width}, 2.2).to(wide),
          .dy = fill(sizes, 0.9).to(type)};
}

// y and the gradients of x, weight and bias.
template <class F>
std::vector<Tensor> with_gradients(const Inputs& in, const F& f) {
  const auto leaf = [](const Tensor& t) { return t.detach().clone().set_requires_grad(true); };
  const Tensor x = leaf(in.x), weight = leaf(in.weight), bias = leaf(in.bias);
  const Tensor y = f(x, weight, bias);
  y.backward(in.dy);
  return {y.detach(), x.grad(), weight.grad(), bias.grad()};
}

// LibTorch's, in the wide type.
Tensor plain(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::layer_norm(x.to(weight.scalar_type()), weight.sizes(), weight, bias, kEps)
      .to(x.scalar_type());
}

TEST(LayerNorm, IsAsExactAsLibTorchs) {
  for (const int64_t width : {7, 15, 16, 59, 97, 1025}) {
    for (const int64_t rows : {1, 127, 300}) {
      for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
        const Inputs in = inputs({rows, width}, type);
        const auto exact = [](const Tensor& t) { return t.to(at::kDouble); };
        const std::vector<Tensor> truth =
            with_gradients({exact(in.x), exact(in.weight), exact(in.bias), exact(in.dy)}, plain);
        const std::vector<Tensor> peer = with_gradients(in, plain);
        for (const cpu::Isa isa : supported_isas()) {
          const auto ours =
              with_gradients(in, [&](const Tensor& x, const Tensor& w, const Tensor& b) {
                return layer_norm(x, w, b, kEps, isa);
              });
          for (size_t i = 0; i < ours.size(); ++i) expect_as_exact(ours[i], peer[i], truth[i]);
        }
      }
    }
  }
}

// One number is its own mean.
TEST(LayerNorm, OfOneNumberIsTheBias) {
  const Inputs in = inputs({5, 1}, at::kFloat);
  EXPECT_TRUE(layer_norm(in.x, in.weight, in.bias, kEps).equal(in.bias.expand({5, 1})));
}

TEST(LayerNorm, TakesAnyStridesAndNumberOfThreads) {
  const Inputs in = inputs({3, 100, 70}, at::kFloat);
  const auto norm = [&](const Tensor& x) { return layer_norm(x, in.weight, in.bias, kEps); };
  const Tensor turned = in.x.transpose(0, 1);
  EXPECT_TRUE(norm(turned).equal(norm(turned.contiguous())));
  EXPECT_EQ(norm(in.x.narrow(0, 0, 0)).sizes(), at::IntArrayRef({0, 100, 70}));
  const int before = at::get_num_threads();
  const auto run = [&] {
    return with_gradients(in, [](const Tensor& x, const Tensor& w, const Tensor& b) {
      return layer_norm(x, w, b, kEps);
    });
  };
  const std::vector<Tensor> expected = run();
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    const std::vector<Tensor> got = run();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(got[i].equal(expected[i])) << threads;
  }
  at::set_num_threads(before);
}

TEST(LayerNormDeathTest, RefusesOtherShapesAndTypes) {
  const Inputs in = inputs({4, 6}, at::kBFloat16);
  EXPECT_DEATH(layer_norm(in.x, in.weight, in.bias.to(at::kBFloat16), kEps), "layer_norm of x");
  EXPECT_DEATH(layer_norm(in.x, in.weight.narrow(0, 0, 5), in.bias, kEps), "layer_norm of x");
}

}  // namespace
}  // namespace weft
