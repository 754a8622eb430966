// What a step adds up and updates: products into sums, the norm of gradients, AdamW.
#include <cmath>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/adamw.h"
#include "models/kernels/matmul.h"
#include "models/kernels/sum_of_squares.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

TEST(LinearProductCuda, AddsGradientsToSums) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto leaf = [&](std::vector<int64_t> sizes, double phi) {
      return fill(std::move(sizes), phi).to(type).to(at::kCUDA).set_requires_grad(true);
    };
    const Tensor x = leaf({100, 130}, 1), w = leaf({150, 130}, 2), bias = leaf({150}, 3);
    const auto wide = at::TensorOptions(at::kFloat).device(at::kCUDA);
    const LinearSums sums{at::zeros({150, 130}, wide), at::zeros({150}, wide)};
    const Tensor dy = fill({100, 150}, 4).to(type);
    for (int pass = 0; pass < 2; ++pass) {
      linear_product(x, w, bias, sums).backward(dy.to(at::kCUDA));
    }
    EXPECT_FALSE(w.grad().defined() || bias.grad().defined());
    const Tensor exact_dy = dy.to(at::kDouble), exact_x = x.detach().cpu().to(at::kDouble);
    const Tensor dweight = exact_dy.t().mm(exact_x) * 2, dbias = exact_dy.sum(0) * 2;
    // A product of bf16 matrices is rounded before it is added.
    const double error = type == at::kBFloat16 ? 0x1p-8 : 1e-5;
    EXPECT_LE(max_difference(sums.weight.cpu(), dweight), error * max_magnitude(dweight));
    EXPECT_LE(max_difference(sums.bias.cpu(), dbias), 1e-5 * max_magnitude(dbias));
  }
}

TEST(SumOfSquaresCuda, IsThatOfItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  const Tensor a = fill({1003}, 0.3).to(at::kFloat), b = fill({70, 90}, 2).to(at::kFloat);
  const double expected = sum_of_squares({a, b});
  EXPECT_NEAR(sum_of_squares({a.to(at::kCUDA), b.to(at::kCUDA)}), expected, 1e-12 * expected);
}

TEST(AdamWCuda, UpdatesAsItsCpuTwinDoes) {
  WEFT_NEEDS_CUDA_DEVICE();
  const auto made = [](double phase) { return fill({70, 90}, phase).to(at::kFloat); };
  const AdamWTensors here{made(0.1), made(0.7), made(1.3) * 0.1, made(1.9).square() * 0.1,
                          made(0).to(at::kBFloat16)};
  const auto there = [](const Tensor& t) { return t.to(at::kCUDA); };
  const AdamWTensors moved{there(here.master), there(here.gradient), there(here.m), there(here.v),
                           there(here.copy)};
  const AdamWStep step{.number = 3,
                       .lr = 0.02,
                       .beta1 = 0.9,
                       .beta2 = 0.95,
                       .eps = 1e-6,
                       .weight_decay = 0.3,
                       .gradient_scale = 0.4};
  adamw({here}, step);
  adamw({moved}, step);
  EXPECT_LE(max_difference(moved.master.cpu(), here.master), 1e-6);
  EXPECT_LE(max_difference(moved.m.cpu(), here.m), 1e-6);
  EXPECT_LE(max_difference(moved.v.cpu(), here.v), 1e-6);
  EXPECT_TRUE(moved.copy.equal(moved.master.to(at::kBFloat16)));
  EXPECT_TRUE(moved.gradient.cpu().equal(here.gradient));
}

}  // namespace
}  // namespace weft
