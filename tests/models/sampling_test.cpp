#include "models/sampling.h"

#include <cmath>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

// Probabilities 0.1, 0.4, 0.2, 0.3 at temperature 1.
Tensor logits() {
  return at::tensor({std::log(0.1), std::log(0.4), std::log(0.2), std::log(0.3)}, at::kDouble);
}

TEST(SampleToken, TemperatureZeroTakesTheMostLikely) {
  EXPECT_EQ(sample_token(logits(), {.temperature = 0}, 0.999), 1);
}

TEST(SampleToken, WalksTheTokensByFallingProbability) {
  EXPECT_EQ(sample_token(logits(), {}, 0.0), 1);
  EXPECT_EQ(sample_token(logits(), {}, 0.399), 1);
  EXPECT_EQ(sample_token(logits(), {}, 0.401), 3);
  EXPECT_EQ(sample_token(logits(), {}, 0.701), 2);
  EXPECT_EQ(sample_token(logits(), {}, 0.999), 0);
}

TEST(SampleToken, TopKKeepsTheMostLikelyAndRenormalises) {
  EXPECT_EQ(sample_token(logits(), {.top_k = 2}, 0.999), 3);
  EXPECT_EQ(sample_token(logits(), {.top_k = 2}, 0.57), 1);  // 0.4 / 0.7 = 0.571
  EXPECT_EQ(sample_token(logits(), {.top_k = 1}, 0.999), 1);
}

TEST(SampleToken, TopPKeepsTheSmallestSetThatReachesIt) {
  EXPECT_EQ(sample_token(logits(), {.top_p = 0.69}, 0.999), 3);
  EXPECT_EQ(sample_token(logits(), {.top_p = 0.71}, 0.999), 2);
  EXPECT_EQ(sample_token(logits(), {.top_p = 1e-9}, 0.999), 1);
}

TEST(SampleToken, LowTemperatureSharpens) {
  // Squared: 0.16, 0.09, 0.04, 0.01 of 0.30.
  EXPECT_EQ(sample_token(logits(), {.temperature = 0.5}, 0.53), 1);
  EXPECT_EQ(sample_token(logits(), {.temperature = 0.5}, 0.54), 3);
}

TEST(SampleToken, TiesGoToTheLowerId) {
  const Tensor equal = at::tensor({1.0, 1.0, 1.0}, at::kDouble);
  EXPECT_EQ(sample_token(equal, {.temperature = 0}, 0.0), 0);
  EXPECT_EQ(sample_token(equal, {.top_k = 2}, 0.9), 1);
}

// Of the most likely token's 0.4, the others have 0.75, 0.5 and 0.25.
TEST(SampleToken, MinPDropsWhatIsMuchLessLikelyThanTheBest) {
  EXPECT_EQ(sample_token(logits(), {.min_p = 0.24}, 0.999), 0);
  EXPECT_EQ(sample_token(logits(), {.min_p = 0.26}, 0.999), 2);
  EXPECT_EQ(sample_token(logits(), {.min_p = 0.49}, 0.999), 2);
  EXPECT_EQ(sample_token(logits(), {.min_p = 0.51}, 0.999), 3);
  EXPECT_EQ(sample_token(logits(), {.min_p = 0.51}, 0.57), 1);  // 0.4 / 0.7 = 0.571
  EXPECT_EQ(sample_token(logits(), {.min_p = 1.0}, 0.999), 1);
}

TEST(SampleToken, MinPKeepsTokensAsLikelyAsTheBest) {
  const Tensor equal = at::tensor({1.0, 0.0, 1.0}, at::kDouble);
  EXPECT_EQ(sample_token(equal, {.min_p = 1.0}, 0.49), 0);
  EXPECT_EQ(sample_token(equal, {.min_p = 1.0}, 0.51), 2);
}

TEST(SampleToken, MinPLooksAtProbabilitiesAfterTheTemperature) {
  // Squared: of 0.16, the others have 0.5625, 0.25 and 0.0625.
  EXPECT_EQ(sample_token(logits(), {.temperature = 0.5, .min_p = 0.3}, 0.999), 3);
  EXPECT_EQ(sample_token(logits(), {.temperature = 0.5, .min_p = 0.2}, 0.999), 2);
}

TEST(SampleToken, CutsComeOneAfterTheOther) {
  EXPECT_EQ(sample_token(logits(), {.top_k = 3, .top_p = 0.99, .min_p = 0.4}, 0.999), 2);
  EXPECT_EQ(sample_token(logits(), {.top_k = 2, .top_p = 0.99, .min_p = 0.4}, 0.999), 3);
  // top_p is of what top_k has left: 0.4 / 0.7 is below 0.6, 0.4 alone is not enough.
  EXPECT_EQ(sample_token(logits(), {.top_k = 2, .top_p = 0.6}, 0.999), 3);
  EXPECT_EQ(sample_token(logits(), {.top_k = 2, .top_p = 0.57}, 0.999), 1);
  EXPECT_EQ(sample_token(logits(), {.top_p = 0.71, .min_p = 0.6}, 0.999), 3);
}

TEST(PenalizeRepetition, DividesPositiveLogitsAndMultipliesNegativeOnes) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const Tensor scores = at::tensor({3.0, -3.0, 0.0, 5.0, -5.0}, type);
    const std::vector<int64_t> tokens = {0, 1, 2};
    penalize_repetition(scores, tokens, 1.5);
    EXPECT_TRUE(at::equal(scores, at::tensor({2.0, -4.5, 0.0, 5.0, -5.0}, type)));
  }
}

TEST(PenalizeRepetition, CountsATokenOnceHoweverOftenItIsThere) {
  const Tensor scores = at::tensor({8.0, -8.0, 8.0}, at::kDouble);
  const std::vector<int64_t> tokens = {0, 1, 0, 0, 1};
  penalize_repetition(scores, tokens, 2.0);
  EXPECT_TRUE(at::equal(scores, at::tensor({4.0, -16.0, 8.0}, at::kDouble)));
}

TEST(PenalizeRepetition, BelowOneFavoursRepetition) {
  const Tensor scores = at::tensor({1.0, -1.0}, at::kDouble);
  const std::vector<int64_t> tokens = {0, 1};
  penalize_repetition(scores, tokens, 0.5);
  EXPECT_TRUE(at::equal(scores, at::tensor({2.0, -0.5}, at::kDouble)));
}

TEST(PenalizeRepetition, OneOrNoTokenChangesNothing) {
  const Tensor scores = logits();
  const std::vector<int64_t> tokens = {0, 1, 2, 3};
  penalize_repetition(scores, tokens, 1.0);
  EXPECT_TRUE(at::equal(scores, logits()));
  penalize_repetition(scores, {}, 2.0);
  EXPECT_TRUE(at::equal(scores, logits()));
}

TEST(PenalizeRepetition, ChangesARowOfABatchInPlace) {
  const Tensor batch = at::tensor({2.0, 2.0, 2.0, 2.0}, at::kDouble).reshape({2, 2});
  const std::vector<int64_t> tokens = {1};
  penalize_repetition(batch[1], tokens, 2.0);
  EXPECT_TRUE(at::equal(batch.reshape(-1), at::tensor({2.0, 2.0, 2.0, 1.0}, at::kDouble)));
}

}  // namespace
}  // namespace weft
