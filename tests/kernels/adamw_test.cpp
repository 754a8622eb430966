#include "models/kernels/adamw.h"

#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sqrt.h>
#include <gtest/gtest.h>

#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr AdamWStep kStep{.number = 3,
                          .lr = 0.02,
                          .beta1 = 0.9,
                          .beta2 = 0.95,
                          .eps = 1e-6,
                          .weight_decay = 0.3,
                          .gradient_scale = 0.4};

AdamWTensors parameter(at::IntArrayRef shape, at::ScalarType type, bool copied) {
  const auto made = [&](double phase) { return fill(shape.vec(), phase).to(type).contiguous(); };
  return {.master = made(0.1),
          .gradient = made(0.7),
          .m = made(1.3) * 0.1,
          .v = made(1.9).square() * 0.1,
          .copy = copied ? at::empty(shape, at::kBFloat16) : Tensor()};
}

// Sizes below, at and above a vector and a piece.
std::vector<AdamWTensors> parameters(at::ScalarType type, bool copied) {
  std::vector<AdamWTensors> all;
  for (const int64_t n : {1, 0, 15, 16, 17, 32767, 32768, 32769, 100003}) {
    all.push_back(parameter({n}, type, copied && n % 2 == 1));
  }
  all.push_back(parameter({5, 7, 3}, type, copied));
  return all;
}

// By plain operators in fp64.
AdamWTensors expected(const AdamWTensors& p) {
  const Tensor g = p.gradient.to(at::kDouble) * kStep.gradient_scale;
  const Tensor m = p.m.to(at::kDouble) * kStep.beta1 + g * (1 - kStep.beta1);
  const Tensor v = p.v.to(at::kDouble) * kStep.beta2 + g * g * (1 - kStep.beta2);
  const Tensor m_hat = m / (1 - std::pow(kStep.beta1, 3));
  const Tensor v_hat = v / (1 - std::pow(kStep.beta2, 3));
  const Tensor start = p.master.to(at::kDouble);
  const Tensor decayed = start - start * (kStep.lr * kStep.weight_decay);
  return {.master = decayed - m_hat / (at::sqrt(v_hat) + kStep.eps) * kStep.lr,
          .gradient = p.gradient.clone(),
          .m = m,
          .v = v,
          .copy = {}};
}

TEST(AdamW, IsTheDefinitionOnEveryInstructionSet) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const double error = type == at::kDouble ? 1e-15 : 3e-7;
    for (const cpu::Isa isa : supported_isas()) {
      const bool copied = type == at::kFloat;
      const std::vector<AdamWTensors> all = parameters(type, copied);
      std::vector<AdamWTensors> truth;
      for (const AdamWTensors& p : all) truth.push_back(expected(p));
      adamw(all, kStep, isa);
      for (size_t i = 0; i < all.size(); ++i) {
        if (all[i].master.numel() == 0) continue;
        EXPECT_LE(max_difference(all[i].master, truth[i].master), error) << i;
        EXPECT_LE(max_difference(all[i].m, truth[i].m), error) << i;
        EXPECT_LE(max_difference(all[i].v, truth[i].v), error) << i;
        EXPECT_TRUE(all[i].gradient.equal(truth[i].gradient));
        if (!all[i].copy.defined()) continue;
        EXPECT_TRUE(all[i].copy.equal(all[i].master.to(at::kBFloat16))) << i;
      }
    }
  }
}

TEST(AdamW, GivesTheSameBitsForAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  std::vector<std::vector<AdamWTensors>> runs;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    runs.push_back(parameters(at::kFloat, true));
    adamw(runs.back(), kStep);
    for (size_t i = 0; i < runs[0].size(); ++i) {
      EXPECT_TRUE(runs.back()[i].master.equal(runs[0][i].master)) << threads;
      EXPECT_TRUE(runs.back()[i].v.equal(runs[0][i].v)) << threads;
    }
  }
  at::set_num_threads(before);
  adamw({}, kStep);
}

TEST(AdamWDeathTest, OtherShapesAndTypesAreAProgrammersError) {
  AdamWTensors p = parameter({4, 3}, at::kFloat, true);
  p.gradient = p.gradient.t();
  EXPECT_DEATH(adamw({p}, kStep), "gradient CPUFloatType \\[3, 4\\]");
  AdamWTensors copied = parameter({4}, at::kDouble, true);
  EXPECT_DEATH(adamw({copied}, kStep), "adamw of a master CPUDoubleType");
  EXPECT_DEATH(
      adamw({parameter({2}, at::kFloat, false), parameter({2}, at::kDouble, false)}, kStep),
      "different types");
}

}  // namespace
}  // namespace weft
