// What a step adds up and updates: products into sums, the norm of gradients, AdamW.
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/adamw.h"
#include "models/kernels/matmul.h"
#include "models/kernels/sum_of_squares.h"
#include "tests/kernels/adamw_case.h"
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

AdamWTensors on_device(const AdamWTensors& p) {
  const auto there = [](const Tensor& t) { return t.defined() ? t.to(at::kCUDA) : t; };
  return {there(p.master), there(p.gradient), there(p.m), there(p.v), there(p.copy)};
}

// A tensor of `size` elements that begins one element behind an aligned address.
Tensor shifted(int64_t size, at::ScalarType type, double phase) {
  return fill({size + 1}, phase).to(at::kCUDA, type).narrow(0, 1, size);
}

TEST(SumOfSquaresCuda, IsThatOfItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    // More tensors than a launch takes; sizes below, at and above a pack and a piece.
    std::vector<Tensor> here, there;
    for (int64_t i = 0; i < 25; ++i) {
      for (const int64_t n : {0, 1, 3, 4, 1003, 8191, 8192, 8193, 100003}) {
        here.push_back(fill({n}, 0.3 + static_cast<double>(i)).to(type));
        there.push_back(here.back().to(at::kCUDA));
      }
    }
    const double expected = sum_of_squares(here), ours = sum_of_squares(there);
    EXPECT_NEAR(ours, expected, 1e-12 * expected);
    EXPECT_EQ(sum_of_squares(there), ours);
    const Tensor odd = shifted(20001, type, 1.5);
    EXPECT_EQ(sum_of_squares({odd}), sum_of_squares({odd.clone()}));
    EXPECT_NEAR(sum_of_squares({odd}), sum_of_squares({odd.cpu()}), 1e-12 * expected);
    EXPECT_EQ(sum_of_squares({there[0]}), 0);  // of no element
    there[7].select(0, 5000).fill_(std::numeric_limits<double>::quiet_NaN());
    EXPECT_TRUE(std::isnan(sum_of_squares(there)));
  }
}

TEST(AdamWCuda, IsTheDefinition) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    std::vector<AdamWTensors> moved, truth, again;
    for (int times = 0; times < 8; ++times) {  // more than a launch takes
      for (const AdamWTensors& p : adamw_parameters(type, type == at::kFloat)) {
        moved.push_back(on_device(p));
        again.push_back(on_device(p));
        truth.push_back(adamw_truth(p));
      }
    }
    adamw(moved, kAdamWStep);
    adamw(again, kAdamWStep);
    for (size_t i = 0; i < moved.size(); ++i) {
      expect_updated(moved[i], truth[i]);
      EXPECT_TRUE(again[i].master.equal(moved[i].master) && again[i].v.equal(moved[i].v));
    }
  }
}

TEST(AdamWCuda, TakesTensorsAtAnyAddress) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    constexpr int64_t kSize = 20001;
    const auto made = [&](double phase) { return shifted(kSize, type, phase); };
    const Tensor copy = type == at::kFloat ? shifted(kSize, at::kBFloat16, 0) : Tensor();
    const AdamWTensors p{made(0.1), made(0.7), made(1.3).mul_(0.1), made(1.9).square_().mul_(0.1),
                         copy};
    const auto here = [](const Tensor& t) { return t.cpu(); };
    const AdamWTensors truth =
        adamw_truth({here(p.master), here(p.gradient), here(p.m), here(p.v), {}});
    adamw({p}, kAdamWStep);
    expect_updated(p, truth);
  }
}

}  // namespace
}  // namespace weft
