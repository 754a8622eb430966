#include "models/kernels/gelu.h"

#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

// y and the gradient of x.
template <class F>
std::vector<Tensor> with_gradient(const Tensor& x, const Tensor& dy, const F& f) {
  const Tensor leaf = x.detach().clone().set_requires_grad(true);
  const Tensor y = f(leaf);
  y.backward(dy);
  return {y.detach(), leaf.grad()};
}

Tensor plain(const Tensor& x) { return at::gelu(x, "tanh"); }

TEST(Gelu, IsAsExactAsLibTorchs) {
  for (const int64_t width : {1, 15, 16, 59, 1025, 40000}) {
    const Tensor wide = fill({2, width}, 0.3, 6), upstream = fill({2, width}, 1);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
      const Tensor x = wide.to(type), dy = upstream.to(type);
      const std::vector<Tensor> truth = with_gradient(x.to(at::kDouble), dy.to(at::kDouble), plain);
      const std::vector<Tensor> peer = with_gradient(x, dy, plain);
      for (const cpu::Isa isa : supported_isas()) {
        const std::vector<Tensor> ours =
            with_gradient(x, dy, [&](const Tensor& t) { return gelu_tanh(t, isa); });
        for (size_t i = 0; i < ours.size(); ++i) expect_as_exact(ours[i], peer[i], truth[i]);
      }
    }
  }
}

TEST(Gelu, KeepsItsLimits) {
  const Tensor x = at::tensor({-1e30, -100.0, 0.0, 100.0, 1e30}, at::kFloat);
  const Tensor limits = at::tensor({0.0, 0.0, 0.0, 100.0, 1e30}, at::kFloat);
  const Tensor slopes = at::tensor({0.0, 0.0, 0.5, 1.0, 1.0}, at::kFloat);
  for (const cpu::Isa isa : supported_isas()) {
    const std::vector<Tensor> got =
        with_gradient(x, x * 0 + 1, [&](const Tensor& t) { return gelu_tanh(t, isa); });
    EXPECT_LE(max_difference(got[0], limits), 1e-30);
    EXPECT_LE(max_difference(got[1], slopes), 1e-7);
  }
}

TEST(Gelu, TakesAnyStrides) {
  const Tensor x = fill({5, 7}, 0.4).to(at::kFloat);
  EXPECT_TRUE(gelu_tanh(x.t()).equal(gelu_tanh(x).t()));
  EXPECT_EQ(gelu_tanh(x.narrow(0, 0, 0)).sizes(), at::IntArrayRef({0, 7}));
}

TEST(GeluDeathTest, RefusesOtherTypes) {
  EXPECT_DEATH(gelu_tanh(fill({4}, 1).to(at::kHalf)), "not Half");
}

}  // namespace
}  // namespace weft
