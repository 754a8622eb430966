#include <vector>

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "models/kernels/silu_mul.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

// y and the gradient of gate and up side by side, on the CPU.
std::vector<Tensor> with_gradient(const Tensor& gate_up, const Tensor& dy) {
  const Tensor leaf = gate_up.detach().clone().set_requires_grad(true);
  const Tensor y = silu_mul(leaf);
  y.backward(dy);
  return {y.detach().cpu(), leaf.grad().cpu()};
}

TEST(SiluMulCuda, IsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Tensor gate_up = fill({40, 600}, 0.3, 5).to(type), dy = fill({40, 300}, 1).to(type);
    const std::vector<Tensor> truth = with_gradient(gate_up.to(at::kDouble), dy.to(at::kDouble));
    const std::vector<Tensor> twin = with_gradient(gate_up, dy);
    const std::vector<Tensor> there = with_gradient(gate_up.to(at::kCUDA), dy.to(at::kCUDA));
    // Operators round silu, and products of it, before they are done.
    const double slack = type == at::kBFloat16 ? 0.02 : 1e-6;
    for (size_t i = 0; i < truth.size(); ++i) {
      EXPECT_LE(max_difference(there[i], truth[i]),
                2 * max_difference(twin[i], truth[i]) + slack * max_magnitude(truth[i]));
    }
  }
}

}  // namespace
}  // namespace weft
