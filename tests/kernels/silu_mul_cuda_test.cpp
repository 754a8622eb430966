#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>
#include <gtest/gtest.h>

#include "models/kernels/silu_mul.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kDouble};

// y and the gradient of gate and up side by side, on the CPU.
std::vector<Tensor> with_gradient(const Tensor& gate_up, const Tensor& dy) {
  const Tensor leaf = gate_up.detach().clone().set_requires_grad(true);
  const Tensor y = silu_mul(leaf);
  y.backward(dy);
  return {y.detach().cpu(), leaf.grad().cpu()};
}

// The same by plain operators in fp64.
std::vector<Tensor> truth_of(const Tensor& gate_up, const Tensor& dy) {
  const Tensor leaf = gate_up.detach().to(at::kDouble).clone().set_requires_grad(true);
  const int64_t width = dy.size(-1);
  const Tensor y = at::silu(leaf.narrow(-1, 0, width)) * leaf.narrow(-1, width, width);
  y.backward(dy.to(at::kDouble));
  return {y.detach(), leaf.grad()};
}

void expect_all_as_exact(const std::vector<Tensor>& ours, const std::vector<Tensor>& twin,
                         const std::vector<Tensor>& truth) {
  for (size_t i = 0; i < truth.size(); ++i) expect_as_exact(ours[i], twin[i], truth[i]);
}

TEST(SiluMulCuda, IsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : kTypes) {
    for (const int64_t width : {1, 7, 8, 59, 300, 1025, 4096}) {  // packs, and none
      const Tensor gate_up = fill({2, 20, 2 * width}, 0.3, 5).to(type);
      const Tensor dy = fill({2, 20, width}, 1).to(type);
      expect_all_as_exact(with_gradient(gate_up.to(at::kCUDA), dy.to(at::kCUDA)),
                          with_gradient(gate_up, dy), truth_of(gate_up, dy));
    }
  }
}

// All rows are the same; a block has one.
TEST(SiluMulCuda, TakesMoreRowsThanAGridHas) {
  WEFT_NEEDS_CUDA_DEVICE();
  constexpr int64_t kRows = 65535 + 5, kWidth = 257;
  const Tensor gate_up = fill({1, 2 * kWidth}, 0.3, 5).to(at::kBFloat16);
  const Tensor dy = fill({1, kWidth}, 1).to(at::kBFloat16);
  const std::vector<Tensor> ours =
      with_gradient(gate_up.to(at::kCUDA).expand({kRows, 2 * kWidth}).contiguous(),
                    dy.to(at::kCUDA).expand({kRows, kWidth}));
  const std::vector<Tensor> twin = with_gradient(gate_up, dy), truth = truth_of(gate_up, dy);
  for (size_t i = 0; i < ours.size(); ++i) {
    const Tensor first = ours[i].narrow(0, 0, 1);
    expect_as_exact(first, twin[i], truth[i]);
    EXPECT_TRUE(ours[i].equal(first.expand_as(ours[i])));
  }
}

// Rows with gaps, and rows that begin at any address.
TEST(SiluMulCuda, TakesPartsOfRows) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : kTypes) {
    const Tensor all = fill({30, 512}, 0.3, 5).to(type), there = all.to(at::kCUDA);
    for (const int64_t first : {0, 3, 16}) {
      for (const int64_t width : {64, 97}) {
        const auto ours = [&](int64_t at) { return there.narrow(1, at, width); };
        const auto twins = [&](int64_t at) { return all.narrow(1, at, width); };
        const Tensor truth =
            at::silu(twins(first).to(at::kDouble)) * twins(first + 200).to(at::kDouble);
        expect_as_exact(silu_mul(ours(first), ours(first + 200)).cpu(),
                        silu_mul(twins(first), twins(first + 200)), truth);
      }
    }
    const Tensor turned = there.t(), single = there.narrow(1, 0, 64);
    EXPECT_TRUE(silu_mul(turned).equal(silu_mul(turned.contiguous())));
    // The gradient of a sum is one number, repeated with strides of 0.
    const Tensor leaf = single.contiguous().set_requires_grad(true);
    silu_mul(leaf).sum().backward();
    const std::vector<Tensor> expected =
        with_gradient(all.narrow(1, 0, 64), fill({30, 32}, 0, 0, 1).to(type));
    EXPECT_LE(max_difference(leaf.grad(), expected[1]),
              (type == at::kBFloat16 ? 0x1p-7 : 1e-6) * max_magnitude(expected[1]));
  }
  EXPECT_EQ(silu_mul(fill({0, 60}, 1).to(at::kCUDA)).sizes(), at::IntArrayRef({0, 30}));
}

TEST(SiluMulCuda, KeepsItsLimits) {
  WEFT_NEEDS_CUDA_DEVICE();
  const Tensor gate = fill({4}, 0, 0, 1).to(at::kFloat);
  gate[0] = -1e4;
  gate[1] = -100.0;
  gate[2] = 0.0;
  gate[3] = 1e4;
  const Tensor y = silu_mul(gate.to(at::kCUDA), fill({4}, 0, 0, 2).to(at::kCUDA, at::kFloat));
  const Tensor limits = gate.clamp_min(0) * 2;
  EXPECT_LE(max_difference(y, limits), 1e-30);
}

}  // namespace
}  // namespace weft
