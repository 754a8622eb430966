// A few tokens through a SwiGLU feed-forward part, against the kernels of its parts, which have
// tests of their own.
#include "models/kernels/swiglu_step.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/rms_norm.h"
#include "models/kernels/row_linear.h"
#include "models/kernels/silu_mul.h"
#include "tests/kernels/isas.h"
#include "tests/kernels/step_types.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

struct StepCase {
  int64_t rows, d, f;
  int64_t experts = 0, top_k = 0;  // none: a dense part
  bool renormalize = false, biases = false;
};

Tensor values_of(at::IntArrayRef sizes, double seed, at::ScalarType type) {
  return fill(sizes.vec(), seed).to(type);
}

SwigluStepWeights weights_of(const StepCase& c, at::ScalarType storage) {
  const at::ScalarType wide = wide_type(storage);
  std::vector<int64_t> into = {c.f, c.d}, back = {c.d, c.f};
  if (c.experts > 0) {
    into.insert(into.begin(), c.experts);
    back.insert(back.begin(), c.experts);
  }
  SwigluStepWeights w{.norm = {values_of({c.d}, 1, wide) + 1, 1e-6},
                      .gate = values_of(into, 2, storage),
                      .up = values_of(into, 3, storage),
                      .down = values_of(back, 4, storage),
                      .gate_bias = {},
                      .up_bias = {},
                      .down_bias = {},
                      .router = {},
                      .choice = {c.experts, c.top_k, c.renormalize}};
  if (c.experts > 0) w.router = values_of({c.experts, c.d}, 5, wide);
  if (c.biases) {
    w.gate_bias = values_of({c.f}, 6, storage);
    w.up_bias = values_of({c.f}, 7, storage);
    w.down_bias = values_of({c.d}, 8, storage);
  }
  return w;
}

Tensor part(const SwigluStepWeights& w, const Tensor& x, const Tensor& gate, const Tensor& up,
            const Tensor& down, cpu::Isa isa) {
  const Tensor g = row_linear(x, gate, w.gate_bias, isa), u = row_linear(x, up, w.up_bias, isa);
  return row_linear(silu_mul(g, u, isa), down, w.down_bias, isa);
}

// logits [E] -> experts and weights [k].
std::pair<std::vector<int64_t>, std::vector<double>> chosen_by(const cpu::ExpertChoice& choice,
                                                               const Tensor& logits) {
  std::vector<int64_t> experts(static_cast<size_t>(choice.top_k));
  std::vector<double> weights(experts.size());
  if (logits.scalar_type() == at::kDouble) {
    cpu::choose_experts(choice, logits.const_data_ptr<double>(), experts.data(), weights.data());
  } else {
    std::vector<float> narrow(experts.size());
    cpu::choose_experts(choice, logits.const_data_ptr<float>(), experts.data(), narrow.data());
    std::copy(narrow.begin(), narrow.end(), weights.begin());
  }
  return {experts, weights};
}

// x [n, d].
Tensor step_by_parts(const SwigluStepWeights& w, const Tensor& x, cpu::Isa isa) {
  const at::ScalarType storage = w.gate.scalar_type(), wide = wide_type(storage);
  const Tensor normed = rms_norm(x, w.norm.weight, w.norm.eps).to(storage);
  if (!w.router.defined()) return x + part(w, normed, w.gate, w.up, w.down, isa);
  const Tensor logits = row_linear(normed.to(wide), w.router, {}, isa);
  const Tensor y = at::empty_like(normed);
  for (int64_t t = 0; t < x.size(0); ++t) {
    const auto [experts, weights] = chosen_by(w.choice, logits[t]);
    Tensor sum = at::zeros({x.size(1)}, wide);
    for (size_t i = 0; i < experts.size(); ++i) {
      const int64_t e = experts[i];
      const Tensor one =
          part(w, normed.narrow(0, t, 1), w.gate[e], w.up[e], w.down[e], isa)[0].to(wide);
      sum = sum + one * weights[i];
    }
    y[t].copy_(sum);
  }
  return x + y;
}

class SwigluStepSizes : public testing::TestWithParam<StepCase> {};

TEST_P(SwigluStepSizes, EqualsItsPartsForAnyNumberOfThreads) {
  const at::NoGradGuard no_grad;
  const StepCase& c = GetParam();
  for (const StepTypes& types : kStepTypes) {
    const SwigluStepWeights w = weights_of(c, types.storage);
    const Tensor x = values_of({c.rows, c.d}, 9, types.residual);
    for (const cpu::Isa isa : supported_isas()) {
      const Tensor expected = step_by_parts(w, x, isa);
      for_thread_counts([&](int count) {
        Tensor ours = x.clone();
        swiglu_step(w, ours, isa);
        EXPECT_TRUE(ours.equal(expected)) << toString(types.residual) << count;
        EXPECT_FALSE(ours.equal(x));
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Some, SwigluStepSizes,
                         testing::Values(StepCase{1, 256, 384}, StepCase{1, 768, 2048},
                                         StepCase{.rows = 3, .d = 59, .f = 77, .biases = true},
                                         StepCase{8, 130, 33}, StepCase{2, 1, 1},
                                         StepCase{1, 256, 384, 4, 2},
                                         StepCase{1, 300, 500, 8, 2, true},
                                         StepCase{5, 59, 77, 7, 3, true}, StepCase{8, 64, 64, 4, 1},
                                         StepCase{2, 33, 20, 5, 5, true},
                                         StepCase{2, 520, 24, 64, 4, true},  // a large router
                                         StepCase{3, 20, 1, 1, 1}));

TEST(SwigluStep, NothingForNoToken) {
  const at::NoGradGuard no_grad;
  Tensor x = at::zeros({0, 16});
  swiglu_step(weights_of({0, 16, 8}, at::kFloat), x);
  EXPECT_EQ(x.sizes(), at::IntArrayRef({0, 16}));
}

TEST(SwigluStepDeathTest, WrongUseIsAProgrammersError) {
  const SwigluStepWeights dense = weights_of({1, 8, 6}, at::kFloat);
  const SwigluStepWeights experts = weights_of({1, 8, 6, 4, 2}, at::kFloat);
  const auto step = [](const SwigluStepWeights& w, Tensor x) { swiglu_step(w, x); };
  const Tensor x = at::zeros({1, 8});
  EXPECT_DEATH(step(dense, x), "swiglu_step has no gradient");
  const at::NoGradGuard no_grad;
  SwigluStepWeights wrong = dense;
  wrong.up = dense.up.narrow(0, 0, 5);
  EXPECT_DEATH(step(wrong, x), "up is .*\\[5, 8\\], expected");
  wrong = dense;
  wrong.down = dense.down.to(at::kDouble);
  EXPECT_DEATH(step(wrong, x), "down is CPUDoubleType");
  wrong = experts;
  wrong.choice.top_k = 5;
  EXPECT_DEATH(step(wrong, x), "5 of 4 experts");
  wrong = experts;
  wrong.gate_bias = at::zeros({6});
  EXPECT_DEATH(step(wrong, x), "experts have no biases");
  EXPECT_DEATH(step(dense, at::zeros({1, 9})), "norm is .*\\[8\\], expected .*\\[9\\]");
  EXPECT_DEATH(step(dense, at::zeros({8, 2}).t()), "x is .*expected contiguous");
}

}  // namespace
}  // namespace weft
