#include <vector>

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "models/kernels/rotate.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

// Heads 2 .. 4 of a joint projection's six are turned; with a norm before that or without. y and
// the gradients of all heads, and of the norm's weight.
std::vector<Tensor> run(bool norm, int64_t width, at::ScalarType values, at::ScalarType type,
                        at::Device device) {
  const auto made = [&](std::vector<int64_t> sizes, double phase) {
    return fill(std::move(sizes), phase).to(values).to(type).to(device);
  };
  const Tensor x = made({2, 70, 6, width}, 1).set_requires_grad(true);
  const Tensor angles = fill({2, 70, 1, width}, 0.3);
  const Tensor cos = angles.cos().to(values).to(type).to(device);
  const Tensor sin = angles.sin().to(values).to(type).to(device);
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor weight = fill({width}, 2, 0.3, 1.0).to(at::kFloat).to(wide).to(device);
  weight.set_requires_grad(true);
  const Tensor part = x.narrow(2, 2, 3);
  const Tensor y = norm ? norm_rotate(part, {weight, 1e-5}, cos, sin) : rotate(part, cos, sin);
  y.backward(made({2, 70, 3, width}, 4));
  std::vector<Tensor> results = {y, x.grad()};
  if (norm) results.push_back(weight.grad());
  for (Tensor& t : results) t = t.detach().cpu();
  return results;
}

TEST(RotateCuda, IsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const bool norm : {false, true}) {
    for (const int64_t width : {2, 64, 130}) {
      for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
        const auto truth = run(norm, width, type, at::kDouble, at::kCPU);
        const auto twin = run(norm, width, type, type, at::kCPU);
        const auto there = run(norm, width, type, type, at::kCUDA);
        for (size_t i = 0; i < there.size(); ++i) expect_as_exact(there[i], twin[i], truth[i]);
      }
    }
  }
}

}  // namespace
}  // namespace weft
