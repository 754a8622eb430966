// Cross-entropy in one kernel, against LibTorch's operators in fp64 and against autograd.
#include "models/kernels/cross_entropy.h"

#include <cmath>
#include <limits>
#include <tuple>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/kernels/isas.h"
#include "tests/kernels/step_types.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr Penalties kPenalties[] = {{}, {.z_loss = 0.01}, {.label_smoothing = 0.1}, {0.02, 0.2}};

// Every fifth target is ignored.
Tensor targets_for(int64_t rows, int64_t vocab) {
  const Tensor targets = at::zeros({rows}, at::kLong);
  for (int64_t i = 0; i < rows; ++i) targets[i] = i % 5 == 3 ? -100 : (7 * i + vocab - 1) % vocab;
  return targets;
}

// In fp64 from other operators than the reference's; its gradient by autograd.
struct Truth {
  Tensor loss;      // [] of all rows together
  Tensor gradient;  // [n, V], of scale * loss
};
Truth truth_of(const Tensor& logits, const Tensor& targets, const Penalties& p, double scale) {
  const Tensor z = logits.detach().to(at::kDouble).clone().set_requires_grad(true);
  const Tensor lse = z.logsumexp({1}).masked_fill(targets.lt(0), 0);
  const Tensor smoothed =
      at::cross_entropy_loss(z, targets, {}, at::Reduction::Sum, -100, p.label_smoothing);
  const Tensor loss = smoothed + p.z_loss * lse.square().sum();
  (loss * scale).backward();
  return {loss.detach(), z.grad()};
}

TEST(CrossEntropy, EqualsItsDefinitionAndAutograd) {
  for (const auto& [rows, vocab] :
       {std::tuple{7, 37}, {1, 1}, {3, 16}, {12, 1025}, {5, 3000}, {40, 257}}) {
    const Tensor logits = fill({rows, vocab}, 0.3, 4), targets = targets_for(rows, vocab);
    for (const Penalties& penalties : kPenalties) {
      const Truth truth = truth_of(logits, targets, penalties, 0.37);
      for (const cpu::Isa isa : supported_isas()) {
        Tensor z = logits.clone();
        const CrossEntropy ours = cross_entropy(z, targets, penalties, 0.37, isa);
        const double loss = (ours.nll + ours.penalty).sum().item<double>();
        EXPECT_NEAR(loss, truth.loss.item<double>(), 1e-13 * (rows + std::abs(loss)));
        EXPECT_LE(max_difference(z, truth.gradient), 1e-14) << rows << " x " << vocab;
        Tensor other = logits.clone();
        const CrossEntropy without = cross_entropy(other, targets, penalties, {}, isa);
        EXPECT_TRUE(other.equal(logits));
        EXPECT_TRUE(without.nll.equal(ours.nll));
        EXPECT_TRUE(without.penalty.equal(ours.penalty));
      }
    }
  }
}

TEST(CrossEntropy, IsAsExactAsOperatorsInFewerBits) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Tensor logits = fill({9, 5000}, 1.1, 6).to(type), targets = targets_for(9, 5000);
    for (const Penalties& penalties : kPenalties) {
      const Truth truth = truth_of(logits, targets, penalties, 0.01);
      Tensor plain = logits.clone();
      const CrossEntropy reference = cross_entropy_reference(plain, targets, penalties, 0.01);
      Tensor wide = logits.to(at::kDouble);
      const CrossEntropy exact = cross_entropy_reference(wide, targets, penalties, {});
      for (const cpu::Isa isa : supported_isas()) {
        Tensor z = logits.clone();
        const CrossEntropy ours = cross_entropy(z, targets, penalties, 0.01, isa);
        expect_as_exact(ours.nll, reference.nll, exact.nll, "nll");
        expect_as_exact(ours.penalty, reference.penalty, exact.penalty, "penalty");
        expect_as_exact(z, plain, truth.gradient, "gradient");
      }
    }
  }
}

TEST(CrossEntropy, ReferenceEqualsItsDefinitionAndAutograd) {
  const Tensor logits = fill({6, 50}, 0.3, 4), targets = targets_for(6, 50);
  for (const Penalties& penalties : kPenalties) {
    const Truth truth = truth_of(logits, targets, penalties, 2.5);
    Tensor z = logits.clone();
    const CrossEntropy ours = cross_entropy_reference(z, targets, penalties, 2.5);
    EXPECT_NEAR((ours.nll + ours.penalty).sum().item<double>(), truth.loss.item<double>(), 1e-12);
    EXPECT_LE(max_difference(z, truth.gradient), 1e-13);
  }
}

TEST(CrossEntropy, IsTheSameForAnyNumberOfThreads) {
  const Tensor logits = fill({33, 4000}, 0.3, 4).to(at::kBFloat16), targets = targets_for(33, 4000);
  Tensor expected, nll;
  for_thread_counts([&](int threads) {
    Tensor z = logits.clone();
    const CrossEntropy ours = cross_entropy(z, targets, {0.01, 0.1}, 1.0);
    if (!expected.defined()) {
      expected = z;
      nll = ours.nll;
    }
    EXPECT_TRUE(z.equal(expected) && ours.nll.equal(nll)) << threads << " threads";
  });
}

TEST(CrossEntropy, KeepsTheDigitsOfASurePrediction) {
  Tensor logits = at::tensor({1000.0F, 990.0F, -1000.0F, 985.0F}).unsqueeze(0);
  const Tensor target = at::zeros({1}, at::kLong);
  const double expected = std::log1p(std::exp(-10.0) + std::exp(-15.0));
  EXPECT_NEAR(cross_entropy(logits, target, {}, {}).nll.item<double>(), expected, 1e-6 * expected);
  // In plain operators the sum, 1.00005, is rounded to fp32.
  EXPECT_NEAR(cross_entropy_reference(logits, target, {}, {}).nll.item<double>(), expected, 1.2e-7);
}

TEST(CrossEntropy, NothingForIgnoredTargetsAndNoRows) {
  Tensor logits = at::full({2, 40}, std::numeric_limits<float>::quiet_NaN());
  const Tensor ignored = at::full({2}, -1, at::kLong);
  const CrossEntropy ours = cross_entropy(logits, ignored, {0.1, 0.1}, 1.0);
  EXPECT_TRUE(ours.nll.equal(at::zeros({2})) && ours.penalty.equal(at::zeros({2})));
  EXPECT_TRUE(logits.equal(at::zeros({2, 40})));
  Tensor none = at::zeros({0, 40});
  EXPECT_EQ(cross_entropy(none, at::zeros({0}, at::kLong), {}, 1.0).nll.numel(), 0);
}

TEST(CrossEntropy, ShowsWhatIsNoNumber) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t at : {0, 17, 69}) {
      Tensor logits = at::zeros({1, 70});
      logits[0][at] = bad;
      const CrossEntropy ours = cross_entropy(logits, at::full({1}, 3, at::kLong), {}, {});
      EXPECT_TRUE(std::isnan(ours.nll.item<float>())) << bad << " at " << at;
    }
  }
}

TEST(CrossEntropyDeathTest, WrongUseIsAProgrammersError) {
  Tensor logits = at::zeros({2, 5});
  const auto run = [](Tensor z, const Tensor& targets) { cross_entropy(z, targets, {}, 1.0); };
  EXPECT_DEATH(run(logits, at::full({2}, 5, at::kLong)), "target 5 of 5");
  EXPECT_DEATH(run(logits, at::zeros({3}, at::kLong)), "logits \\[2, 5\\] and targets \\[3\\]");
  EXPECT_DEATH(run(logits.t(), at::zeros({5}, at::kLong)), "cross_entropy of logits");
  EXPECT_DEATH(run(logits.to(at::kHalf), at::zeros({2}, at::kLong)), "fp32, fp64 and bf16");
  EXPECT_DEATH(run(logits.clone().set_requires_grad(true), at::zeros({2}, at::kLong)),
               "no gradient flows");
}

}  // namespace
}  // namespace weft
