// The head and its loss by slices, against plain operators and autograd (spec/methods.md 1.10).
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "models/head.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr int64_t kRows = 23, kWidth = 8, kVocabulary = 41;

struct Inputs {
  Tensor hidden, weight, targets;
};

Inputs inputs(at::ScalarType type, bool with_ignored) {
  const auto leaf = [&](std::vector<int64_t> sizes, double seed) {
    return fill(std::move(sizes), seed).to(type).set_requires_grad(true);
  };
  Inputs in{leaf({kRows, kWidth}, 0.3), leaf({kVocabulary, kWidth}, 1.7),
            at::zeros({kRows}, at::kLong)};
  for (int64_t i = 0; i < kRows; ++i) {
    in.targets[i] = with_ignored && i % 4 == 2 ? -100 : 5 * i % kVocabulary;
  }
  return in;
}

struct Result {
  Tensor loss, hidden_grad, weight_grad;
};

// `upstream`: what the loss is multiplied with before it is differentiated.
Result plain(const Inputs& in, const LossWeights& weights, double upstream) {
  const Tensor hidden = in.hidden.detach().set_requires_grad(true);
  const Tensor weight = in.weight.detach().set_requires_grad(true);
  Tensor z = at::linear(hidden, weight);
  if (z.scalar_type() == at::kBFloat16) z = z.to(at::kFloat);
  const Tensor nll = at::cross_entropy_loss(z, in.targets, {}, at::Reduction::Sum, -100,
                                            weights.penalties.label_smoothing);
  const Tensor lse = z.logsumexp({1}).masked_fill(in.targets.lt(0), 0);
  const Tensor loss = (nll + weights.penalties.z_loss * lse.square().sum()) * weights.target;
  (loss * upstream).backward();
  return {loss.detach(), hidden.grad(), weight.grad()};
}

Result by_slices(const Inputs& in, const LossWeights& weights, int64_t rows, double upstream) {
  const Tensor hidden = in.hidden.detach().set_requires_grad(true);
  const Tensor weight = in.weight.detach().set_requires_grad(true);
  const HeadLoss loss = head_loss(hidden, weight, in.targets, weights, rows);
  (loss.loss * upstream).backward();
  return {loss.loss.detach(), hidden.grad(), weight.grad()};
}

constexpr int64_t kSliceRows[] = {1, 2, 7, kRows - 1, kRows, kRows + 3};
const std::vector<LossWeights> kWeights = {
    {}, {0.25}, {1.0 / 17, {.z_loss = 0.01}}, {0.5, {0.02, 0.1}}};

TEST(HeadLoss, EqualsPlainOperatorsForAnySlices) {
  for (const bool with_ignored : {false, true}) {
    const Inputs in = inputs(at::kDouble, with_ignored);
    for (const LossWeights& weights : kWeights) {
      for (const double upstream : {1.0, 0.25}) {
        const Result truth = plain(in, weights, upstream);
        for (const int64_t rows : kSliceRows) {
          const Result ours = by_slices(in, weights, rows, upstream);
          EXPECT_LE(max_difference(ours.loss, truth.loss), 1e-12 * max_magnitude(truth.loss));
          EXPECT_LE(max_difference(ours.hidden_grad, truth.hidden_grad), 1e-13) << rows;
          EXPECT_LE(max_difference(ours.weight_grad, truth.weight_grad), 1e-13) << rows;
        }
      }
    }
  }
}

TEST(HeadLoss, IsAsExactInFewerBits) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Inputs in = inputs(type, true);
    const Inputs wide{in.hidden.detach().to(at::kDouble), in.weight.detach().to(at::kDouble),
                      in.targets};
    for (const LossWeights& weights : kWeights) {
      const Result truth = plain(wide, weights, 1), reference = plain(in, weights, 1);
      for (const int64_t rows : kSliceRows) {
        const Result ours = by_slices(in, weights, rows, 1);
        EXPECT_LE(
            max_difference(ours.loss, truth.loss),
            2 * max_difference(reference.loss, truth.loss) + 1e-6 * max_magnitude(truth.loss));
        expect_as_exact(ours.hidden_grad, reference.hidden_grad, truth.hidden_grad, "hidden");
        expect_as_exact(ours.weight_grad, reference.weight_grad, truth.weight_grad, "weight");
      }
    }
  }
}

TEST(HeadLoss, CountsWithoutGradients) {
  const Inputs in = inputs(at::kDouble, true);
  const LossWeights weights{0.5, {0.02, 0.1}};
  const HeadLoss with = head_loss(in.hidden, in.weight, in.targets, weights, 7);
  const at::NoGradGuard no_grad;
  const HeadLoss without = head_loss(in.hidden, in.weight, in.targets, weights, 7);
  EXPECT_TRUE(without.nll_sum.equal(with.nll_sum) && without.penalty_sum.equal(with.penalty_sum));
  EXPECT_TRUE(without.loss.equal(with.loss.detach()));
  EXPECT_FALSE(without.loss.requires_grad() || with.nll_sum.requires_grad());
}

TEST(HeadLoss, GivesNoGradientWhereNoneIsWanted) {
  for (const bool frozen_head : {false, true}) {
    const Inputs in = inputs(at::kDouble, false);
    const Result truth = plain(in, {}, 1);
    (frozen_head ? in.weight : in.hidden).set_requires_grad(false);
    head_loss(in.hidden, in.weight, in.targets, {}, 7).loss.backward();
    EXPECT_EQ(in.weight.grad().defined(), !frozen_head);
    EXPECT_EQ(in.hidden.grad().defined(), frozen_head);
    const Tensor expected = frozen_head ? truth.hidden_grad : truth.weight_grad;
    EXPECT_LE(max_difference((frozen_head ? in.hidden : in.weight).grad(), expected), 1e-13);
  }
}

// The head of a tied embedding is kept in the master's type: its gradient is not rounded to bf16.
TEST(HeadLoss, GivesAWideHeadAWideGradient) {
  const Inputs in = inputs(at::kBFloat16, false);
  const Tensor weight = in.weight.detach().to(at::kFloat).set_requires_grad(true);
  head_loss(in.hidden, weight, in.targets, {}, 7).loss.backward();
  ASSERT_EQ(weight.grad().scalar_type(), at::kFloat);
  const Inputs wide{in.hidden.detach().to(at::kDouble), in.weight.detach().to(at::kDouble),
                    in.targets};
  const Result truth = plain(wide, {}, 1);
  expect_as_exact(weight.grad(), plain(in, {}, 1).weight_grad.to(at::kFloat), truth.weight_grad);
  EXPECT_FALSE(weight.grad().to(at::kBFloat16).to(at::kFloat).equal(weight.grad()));
}

// Over two passes into one sum, of a bf16 head too, whose gradient is not rounded then.
TEST(HeadLoss, AddsToTheGradientThatItIsGiven) {
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    const Inputs in = inputs(type, false);
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    const Tensor sum = at::zeros(in.weight.sizes(), wide);
    for (int pass = 0; pass < 2; ++pass) {
      head_loss(in.hidden, in.weight, in.targets, {}, 7, sum).loss.backward();
    }
    EXPECT_FALSE(in.weight.grad().defined());
    const Inputs alone{in.hidden.detach().clone().set_requires_grad(true),
                       in.weight.detach().to(wide).set_requires_grad(true), in.targets};
    head_loss(alone.hidden, alone.weight, alone.targets, {}, 7).loss.backward();
    EXPECT_LE(max_difference(sum, alone.weight.grad() * 2), type == at::kDouble ? 1e-13 : 1e-5);
    EXPECT_TRUE(in.hidden.grad().equal(alone.hidden.grad() * 2));
    const at::NoGradGuard no_grad;
    const Tensor before = sum.clone();
    head_loss(in.hidden, in.weight, in.targets, {}, 7, sum);
    EXPECT_TRUE(sum.equal(before));
  }
}

// What the loss is multiplied with afterwards is not rounded to bf16.
TEST(HeadLoss, IsScaledInTheWideType) {
  const Inputs in = inputs(at::kBFloat16, false);
  const Result whole = by_slices(in, {}, 7, 1), part = by_slices(in, {}, 7, 0.3);
  const Tensor expected = (whole.hidden_grad.to(at::kDouble) * 0.3).to(at::kBFloat16);
  EXPECT_TRUE(part.hidden_grad.equal(expected));
}

TEST(HeadLoss, TakesAnyStrides) {
  const Inputs in = inputs(at::kDouble, true);
  const Result truth = plain(in, {}, 1);
  const Inputs turned{in.hidden.detach().t().contiguous().t(),
                      in.weight.detach().t().contiguous().t(),
                      at::stack({in.targets, in.targets}, 1).select(1, 0)};
  const Result ours = by_slices(turned, {}, 7, 1);
  EXPECT_LE(max_difference(ours.hidden_grad, truth.hidden_grad), 1e-13);
  EXPECT_LE(max_difference(ours.weight_grad, truth.weight_grad), 1e-13);
}

TEST(HeadLossDeathTest, IsDifferentiatedOnce) {
  const Inputs in = inputs(at::kFloat, false);
  const Tensor loss = head_loss(in.hidden, in.weight, in.targets, {}, 7).loss;
  EXPECT_DEATH(torch::autograd::grad({loss}, {in.hidden}, {}, true, /*create_graph=*/true),
               "at most once");
  torch::autograd::grad({loss}, {in.hidden}, {}, /*retain_graph=*/true);
  EXPECT_DEATH(torch::autograd::grad({loss}, {in.hidden}), "at most once");
}

TEST(HeadLossDeathTest, CannotWeightWhatItHasAdded) {
  const Inputs in = inputs(at::kFloat, false);
  const Tensor sum = at::zeros(in.weight.sizes(), at::kFloat);
  const Tensor loss = head_loss(in.hidden, in.weight, in.targets, {}, 7, sum).loss * 2;
  EXPECT_DEATH(loss.backward(), "is weighted");
  EXPECT_DEATH(head_loss(in.hidden, in.weight, in.targets, {}, 7, sum.narrow(0, 0, 3)),
               "a gradient of \\[3, 8\\]");
}

TEST(HeadLoss, IsZeroWithoutTargets) {
  Inputs in = inputs(at::kFloat, false);
  in.targets = at::full_like(in.targets, -1);
  const Result ignored = by_slices(in, {0.1, {0.1, 0.1}}, 7, 1);
  EXPECT_EQ(ignored.loss.item<double>(), 0);
  EXPECT_EQ(max_magnitude(ignored.hidden_grad) + max_magnitude(ignored.weight_grad), 0);
  const Inputs none{in.hidden.detach().narrow(0, 0, 0), in.weight, in.targets.narrow(0, 0, 0)};
  const Result empty = by_slices(none, {}, 7, 1);
  EXPECT_EQ(empty.loss.item<double>(), 0);
  EXPECT_EQ(max_magnitude(empty.weight_grad), 0);
}

TEST(HeadLossDeathTest, WrongUseIsAProgrammersError) {
  const Inputs in = inputs(at::kFloat, false);
  EXPECT_DEATH(head_loss(in.hidden, in.weight, in.targets, {}, 0), "by 0 rows");
  EXPECT_DEATH(head_loss(in.hidden, in.weight.t(), in.targets, {}, 7), "head \\[8, 41\\]");
  EXPECT_DEATH(head_loss(in.hidden, in.weight, in.targets.narrow(0, 0, 3), {}, 7),
               "targets \\[3\\]");
}

}  // namespace
}  // namespace weft
