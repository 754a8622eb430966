#include "models/kernels/silu_mul.h"

#include <functional>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

class SiluMulSizes : public testing::TestWithParam<int64_t> {
 protected:
  const at::NoGradGuard no_grad_;
};

TEST_P(SiluMulSizes, IsAsExactAsPlainOperators) {
  const at::Generator random = at::detail::createCPUGenerator(3);
  const auto wide = at::TensorOptions(at::kDouble);
  const Tensor gate = at::randn({2, GetParam()}, random, wide) * 5;
  const Tensor up = at::randn({2, GetParam()}, random, wide);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const Tensor g = gate.to(type), u = up.to(type);
    const Tensor truth = at::silu(g.to(at::kDouble)) * u.to(at::kDouble);
    for (const cpu::Isa isa : supported_isas()) {
      expect_as_exact(silu_mul(g, u, isa), at::silu(g) * u, truth);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SiluMulSizes, testing::Values(0, 1, 7, 16, 59, 97, 1025, 50000));

TEST(SiluMul, KeepsItsLimits) {
  const at::NoGradGuard no_grad;
  const Tensor gate = at::tensor({-1e4, -100.0, 0.0, 100.0, 1e4}, at::kFloat);
  const Tensor up = at::tensor({2.0, 2.0, 2.0, 2.0, 2.0}, at::kFloat);
  const Tensor limits = at::tensor({0.0, 0.0, 0.0, 200.0, 2e4}, at::kFloat);
  for (const cpu::Isa isa : supported_isas()) {
    EXPECT_LE(max_difference(silu_mul(gate, up, isa), limits), 1e-30);
  }
}

// y and the gradients of gate and up, by way of both forms and of plain operators.
std::vector<Tensor> with_gradients(const Tensor& gate, const Tensor& up, const Tensor& dy,
                                   const std::function<Tensor(const Tensor&, const Tensor&)>& f) {
  const Tensor g = gate.detach().clone().set_requires_grad(true);
  const Tensor u = up.detach().clone().set_requires_grad(true);
  const Tensor y = f(g, u);
  y.backward(dy);
  return {y.detach(), g.grad(), u.grad()};
}

TEST(SiluMul, HasTheGradientsOfPlainOperators) {
  const at::Generator random = at::detail::createCPUGenerator(4);
  const auto wide = at::TensorOptions(at::kDouble);
  for (const int64_t width : {1, 16, 59, 700}) {
    const Tensor gate = at::randn({3, 30, width}, random, wide) * 4;
    const Tensor up = at::randn({3, 30, width}, random, wide);
    const Tensor dy = at::randn({3, 30, width}, random, wide);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
      const Tensor g = gate.to(type), u = up.to(type), d = dy.to(type);
      const auto plain = [](const Tensor& a, const Tensor& b) { return at::silu(a) * b; };
      const std::vector<Tensor> truth =
          with_gradients(g.to(at::kDouble), u.to(at::kDouble), d.to(at::kDouble), plain);
      const std::vector<Tensor> operators = with_gradients(g, u, d, plain);
      for (const cpu::Isa isa : supported_isas()) {
        const auto apart = [&](const Tensor& a, const Tensor& b) { return silu_mul(a, b, isa); };
        const auto joint = [&](const Tensor& a, const Tensor& b) {
          return silu_mul(at::cat({a, b}, -1), isa);
        };
        const std::vector<Tensor> got = with_gradients(g, u, d, apart);
        const std::vector<Tensor> same = with_gradients(g, u, d, joint);
        for (size_t i = 0; i < got.size(); ++i) {
          expect_as_exact(got[i], operators[i], truth[i]);
          EXPECT_TRUE(got[i].equal(same[i])) << i;
        }
      }
    }
  }
}

TEST(SiluMul, TakesPartsOfRows) {
  const Tensor all = at::randn({4, 5, 60}, at::TensorOptions(at::kFloat));
  const Tensor gate = all.narrow(2, 3, 20), up = all.narrow(2, 30, 20);
  EXPECT_TRUE(silu_mul(gate, up).equal(silu_mul(gate.contiguous(), up.contiguous())));
  const Tensor turned = all.transpose(1, 2);
  EXPECT_TRUE(silu_mul(turned, turned).equal(silu_mul(turned.contiguous(), turned.contiguous())));
  EXPECT_EQ(silu_mul(all.narrow(0, 0, 0)).sizes(), at::IntArrayRef({0, 5, 30}));
}

TEST(SiluMulDeathTest, RefusesOtherShapes) {
  const Tensor a = at::randn({4, 5}, at::TensorOptions(at::kFloat));
  EXPECT_DEATH(silu_mul(a), "silu_mul of \\[4, 5\\]");
  EXPECT_DEATH(silu_mul(a, a.t()), "silu_mul of gate \\[4, 5\\] and up \\[5, 4\\]");
  EXPECT_DEATH(silu_mul(a.to(at::kHalf), a.to(at::kHalf)), "not Half");
}

}  // namespace
}  // namespace weft
