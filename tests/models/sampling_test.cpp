#include "models/sampling.h"

#include <cmath>

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

}  // namespace
}  // namespace weft
