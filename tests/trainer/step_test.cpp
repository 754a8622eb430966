// The gradients of an update: micro-batches, weights of the losses, and what is reported.
#include "trainer/step.h"

#include <cmath>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/closeness.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

// One row of one document; `ignored` targets at its end.
Batch row_of(const std::vector<int64_t>& ids, int64_t ignored) {
  const auto length = static_cast<int64_t>(ids.size());
  Batch batch;
  batch.tokens = token_row(ids);
  batch.targets = token_row(ids).roll(-1, 1);
  batch.targets.narrow(1, length - ignored, ignored).fill_(kIgnoredTarget);
  batch.documents = at::zeros({1, length}, at::kInt);
  batch.positions = at::arange(length, at::kLong).unsqueeze(0);
  batch.num_targets = length - ignored;
  return batch;
}

std::vector<Batch> batches() {
  return {row_of({3, 14, 15, 9, 26}, 1), row_of({5, 35, 8, 9, 7, 9, 32}, 3)};
}

constexpr Penalties kPenalties{.z_loss = 0.05, .label_smoothing = 0.1};

// Of one batch: sums over its targets of nll, and of what the penalties add, from the logits.
struct Sums {
  Tensor nll, penalty;
};
Sums sums_of(const CausalLM& model, const Batch& batch) {
  const int64_t length = batch.tokens.size(1);
  const Tensor logits = model.logits(batch.tokens, Documents::whole_rows(1, length, at::kCPU))[0];
  const Tensor used = batch.targets[0].ge(0).to(at::kDouble);
  const Tensor lse = logits.logsumexp({1});
  const Tensor chosen = logits.gather(1, batch.targets[0].clamp_min(0).unsqueeze(1)).squeeze(1);
  const Tensor penalty =
      kPenalties.z_loss * lse.square() + kPenalties.label_smoothing * (chosen - logits.mean(1));
  return {((lse - chosen) * used).sum(), (penalty * used).sum()};
}

TEST(ComputeGradients, AreThoseOfTheMeanOverAllTargets) {
  TinyModel tiny(tiny_recipe(Family::kLlama, 2));
  const StepResult result =
      compute_gradients(*tiny, tiny.store(), batches(), kPenalties, /*clip_norm=*/0);
  EXPECT_EQ(result.targets, 8);

  TinyModel other(tiny_recipe(Family::kLlama, 2));
  Sums sums = sums_of(*other, batches()[0]);
  const Sums second = sums_of(*other, batches()[1]);
  sums = {sums.nll + second.nll, sums.penalty + second.penalty};
  ((sums.nll + sums.penalty) / 8).backward();

  EXPECT_NEAR(result.loss, sums.nll.item<double>() / 8, 1e-12);
  EXPECT_NEAR(result.penalty, sums.penalty.item<double>() / 8, 1e-12);
  EXPECT_GT(result.penalty, 0.1);
  double squares = 0;
  for (size_t i = 0; i < tiny.store().parameters().size(); ++i) {
    const Parameter& ours = tiny.store().parameters()[i];
    const Parameter& theirs = other.store().parameters()[i];
    EXPECT_LE(max_difference(ours.gradient, theirs.gradient), 1e-12) << ours.spec->name;
    squares += theirs.gradient.square().sum().item<double>();
  }
  EXPECT_NEAR(result.grad_norm, std::sqrt(squares), 1e-12);
  EXPECT_EQ(result.clip_factor, 1);
}

// Gradients stay as they are: the update multiplies them.
TEST(ComputeGradients, KnowWhatClippingMultipliesThemBy) {
  TinyModel whole(tiny_recipe(Family::kLlama, 2)), tiny(tiny_recipe(Family::kLlama, 2));
  const double norm = compute_gradients(*whole, whole.store(), batches(), kPenalties, 0).grad_norm;
  const StepResult result = compute_gradients(*tiny, tiny.store(), batches(), kPenalties, norm / 4);
  EXPECT_DOUBLE_EQ(result.clip_factor, 0.25);
  for (size_t i = 0; i < tiny.store().parameters().size(); ++i) {
    EXPECT_TRUE(
        tiny.store().parameters()[i].gradient.equal(whole.store().parameters()[i].gradient));
  }
}

TEST(ComputeGradients, IsZeroWithoutTargets) {
  TinyModel tiny(tiny_recipe(Family::kLlama, 2));
  const StepResult result =
      compute_gradients(*tiny, tiny.store(), {row_of({1, 2, 3}, 3)}, kPenalties, 1.0);
  EXPECT_EQ(result.targets, 0);
  EXPECT_EQ(result.loss, 0);
  EXPECT_EQ(result.penalty, 0);
  EXPECT_EQ(result.grad_norm, 0);
}

}  // namespace
}  // namespace weft
