#include "tests/kernels/silu_mul.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
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

}  // namespace
}  // namespace weft
