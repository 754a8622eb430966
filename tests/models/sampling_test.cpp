#include "models/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "base/random.h"

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

// Many are searched in blocks, and a block in vectors.
TEST(SampleToken, FindsTheFirstOfTheLargestOfMany) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const Tensor many = at::arange(200003, at::kDouble).sin().to(type);
    for (const int64_t at : {0, 77777, 200002}) {
      Tensor logits = many.clone();
      logits[at] = 2.0;
      logits[200002] = 2.0;
      EXPECT_EQ(sample_token(logits, {.temperature = 0}, 0.5), at);
      logits[at] = NAN;
      EXPECT_EQ(sample_token(logits, {.temperature = 0}, 0.5), std::nullopt);
      logits[at] = INFINITY;
      EXPECT_EQ(sample_token(logits, {.temperature = 1}, 0.5), std::nullopt);
    }
  }
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

// Everything sorted first, in the words of the contract.
int64_t sample_of_all_sorted(const std::vector<double>& values, const SamplingConfig& c, double u) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  if (c.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(c.top_k)));
  std::vector<double> mass;
  for (const int64_t i : order) {
    mass.push_back(std::exp((values[i] - values[order[0]]) / c.temperature));
  }
  const double all = std::accumulate(mass.begin(), mass.end(), 0.0);
  double reached = mass[0];
  size_t count = 1;
  while (count < mass.size() && reached < c.top_p * all) reached += mass[count++];
  while (count > 1 && mass[count - 1] < c.min_p) --count;
  mass.resize(count);
  const double kept = std::accumulate(mass.begin(), mass.end(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    sum += mass[i];
    if (u * kept < sum) return order[i];
  }
  return order[count - 1];
}

TEST(SampleToken, DrawsFromALargeVocabularyAsIfAllOfItWereSorted) {
  const RandomStream stream(7, "sampling test", "");
  const SamplingConfig configs[] = {{},
                                    {.temperature = 3},
                                    {.top_k = 1},
                                    {.top_k = 70},
                                    {.top_k = 5000},
                                    {.top_p = 0.3},
                                    {.top_p = 0.999},
                                    {.min_p = 0.02},
                                    {.temperature = 2, .top_k = 200, .top_p = 0.9, .min_p = 0.01}};
  for (const size_t size : {1, 63, 64, 65, 600, 5000}) {
    std::vector<double> values(size);
    stream.fill_normal(0, values);
    // Steps of 1/4, so that there are many ties; both types hold them exactly.
    for (double& value : values) value = std::round(value * 8) / 4;
    const Tensor wide = at::tensor(values, at::kDouble), narrow = wide.to(at::kFloat);
    const int64_t best = std::max_element(values.begin(), values.end()) - values.begin();
    EXPECT_EQ(sample_token(wide, {.temperature = 0}, 0.5), best) << size;
    EXPECT_EQ(sample_token(narrow, {.temperature = 0}, 0.5), best) << size;
    for (const SamplingConfig& config : configs) {
      for (uint64_t i = 0; i < 20; ++i) {
        const double u = stream.uniform(i);
        const int64_t expected = sample_of_all_sorted(values, config, u);
        EXPECT_EQ(sample_token(wide, config, u), expected) << size << ", " << u;
        EXPECT_EQ(sample_token(narrow, config, u), expected) << size << ", " << u;
      }
    }
  }
}

TEST(SampleToken, WithoutAnOrderThereIsNone) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> cases[] = {{nan, 1, 2},   {2, nan, 1},           {1, 2, nan},
                                       {nan},         {nan, -infinity},      {infinity, 1, 2},
                                       {1, infinity}, {-infinity, -infinity}};
  for (const std::vector<double>& values : cases) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      const Tensor scores = at::tensor(values, type);
      for (const double temperature : {0.0, 1.0}) {
        for (const double u : {0.0, 0.999}) {
          EXPECT_EQ(sample_token(scores, {.temperature = temperature}, u), std::nullopt) << scores;
        }
      }
    }
  }
}

TEST(SampleToken, WithoutAnOrderThereIsNoneWhereverItIs) {
  for (const int64_t size : {16, 37}) {
    for (int64_t at = 0; at < size; ++at) {
      for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
        std::vector<float> values(static_cast<size_t>(size), 0.5F);
        values[static_cast<size_t>(at)] = value;
        EXPECT_EQ(sample_token(at::tensor(values), {.temperature = 0}, 0), std::nullopt) << at;
        values[static_cast<size_t>(at)] = 0.75F;
        EXPECT_EQ(sample_token(at::tensor(values), {.temperature = 0}, 0), at);
      }
    }
  }
}

TEST(SampleToken, NeverDrawsATokenThatIsRuledOut) {
  const double never = -std::numeric_limits<double>::infinity();
  const Tensor scores = at::tensor({never, 1.0, never, 2.0}, at::kDouble);
  EXPECT_EQ(sample_token(scores, {.temperature = 0}, 0.5), 3);
  EXPECT_EQ(sample_token(scores, {}, 0.0), 3);
  EXPECT_EQ(sample_token(scores, {}, 0.999), 1);
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
  const std::vector<int64_t> tokens = {1};
  const Tensor batch = at::tensor({2.0, 2.0, 2.0, 2.0}, at::kDouble).reshape({2, 2});
  penalize_repetition(batch, tokens, 2.0, /*row=*/1);
  EXPECT_TRUE(at::equal(batch.reshape(-1), at::tensor({2.0, 2.0, 2.0, 1.0}, at::kDouble)));
  penalize_repetition(batch[0], tokens, 4.0);
  EXPECT_TRUE(at::equal(batch.reshape(-1), at::tensor({2.0, 0.5, 2.0, 1.0}, at::kDouble)));
}

TEST(SampleToken, TakesARowOfABatch) {
  const Tensor batch = at::stack({logits().flip(0), logits(), logits().flip(0)});
  for (const Tensor& rows : {batch, batch.t().contiguous().t()}) {
    EXPECT_EQ(sample_token(rows, {.temperature = 0}, 0, /*row=*/0), 2);
    EXPECT_EQ(sample_token(rows, {.temperature = 0}, 0, /*row=*/1), 1);
    EXPECT_EQ(sample_token(rows, {}, 0.701, /*row=*/1), 2);
    EXPECT_EQ(sample_token(rows, {}, 0.999, /*row=*/2), 3);
  }
}

TEST(SampleTokenDeathTest, RefusesRowsThatAreNotThere) {
  EXPECT_DEATH(sample_token(logits(), {}, 0, /*row=*/1), "row 1 of logits .4.");
  EXPECT_DEATH(sample_token(logits().unsqueeze(0), {}, 0), "row 0 of logits .1, 4.");
  EXPECT_DEATH(sample_token(logits().narrow(0, 0, 0), {}, 0), "row 0 of logits .0.");
  EXPECT_DEATH(sample_token(logits().unsqueeze(0), {}, 0, /*row=*/1), "row 1 of logits .1, 4.");
  EXPECT_DEATH(sample_token(logits().to(at::kInt), {}, 0), "fp32 or fp64");
}

// The first of equal ones, in whatever block of the vocabulary it is.
TEST(SampleToken, FindsTheFirstOfTheLargestInALargeVocabulary) {
  for (const int64_t first : {0, 1023, 1024, 1500, 2048, 4999}) {
    for (const int64_t second : {first, int64_t{2047}, int64_t{4999}}) {
      const Tensor scores = at::full({5000}, -2.0, at::kFloat);
      scores[first] = 7;
      scores[second] = 7;
      EXPECT_EQ(sample_token(scores, {.temperature = 0}, 0), std::min(first, second));
    }
  }
}

}  // namespace
}  // namespace weft
