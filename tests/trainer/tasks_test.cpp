// Metrics by hand, and packed rows against one sequence at a time.
#include "trainer/tasks.h"

#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"

namespace weft {
namespace {

using Ids = std::vector<int64_t>;
using Scores = std::vector<std::vector<double>>;

// An item of which only what the metrics need is filled in.
ChoiceItem measured(const Ids& characters, const Ids& bytes, size_t choices, int64_t answer) {
  return {.context = {},
          .choices = std::vector<Ids>(choices, Ids{0}),
          .characters = characters,
          .bytes = bytes,
          .answer = answer};
}

TEST(ScoreChoices, DividesByCharactersAndByBytes) {
  const std::vector<ChoiceItem> items = {measured({1, 4}, {1, 8}, 2, 1),
                                         measured({2, 2}, {2, 6}, 2, 0),
                                         measured({1, 1, 1}, {1, 1, 1}, 3, 1)};
  //   as they are         a character        a byte
  //   -2    -7    wrong   -2    -1.75  right  -2    -0.875  right
  //   -2    -3    right   -1    -1.5   right  -1    -0.5    wrong
  //   -5 -1 -9    right
  const ChoiceResult result = score_choices(items, {{-2, -7}, {-2, -3}, {-5, -1, -9}});
  EXPECT_EQ(result.items, 3);
  EXPECT_DOUBLE_EQ(result.acc.value, 2.0 / 3);
  EXPECT_DOUBLE_EQ(*result.acc.standard_error, 1.0 / 3);  // sqrt(2/3 * 1/3 / 2)
  EXPECT_DOUBLE_EQ(result.acc_norm->value, 1.0);
  EXPECT_DOUBLE_EQ(*result.acc_norm->standard_error, 0.0);
  EXPECT_DOUBLE_EQ(result.acc_bytes->value, 2.0 / 3);
  EXPECT_DOUBLE_EQ(*result.acc_bytes->standard_error, 1.0 / 3);
}

TEST(ScoreChoices, TheFirstOfEqualChoicesWins) {
  const auto acc = [](int64_t answer) {
    return score_choices({measured({1, 2, 2}, {1, 2, 2}, 3, answer)}, {{-8, -4, -4}});
  };
  EXPECT_EQ(acc(1).acc.value, 1);
  EXPECT_EQ(acc(2).acc.value, 0);
  EXPECT_EQ(acc(1).acc_norm->value, 1);
  EXPECT_EQ(acc(2).acc_bytes->value, 0);
  const double nothing = -std::numeric_limits<double>::infinity();
  EXPECT_EQ(score_choices({measured({}, {}, 2, 0)}, {{nothing, nothing}}).acc.value, 1);
}

TEST(ScoreChoices, AnItemWithoutANumberIsWrong) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const int64_t answer : {0, 1}) {
    for (const Scores& scores : {Scores{{nan, -1}}, Scores{{-1, nan}}, Scores{{nan, nan}}}) {
      EXPECT_EQ(score_choices({measured({1, 1}, {1, 1}, 2, answer)}, scores).acc.value, 0);
    }
  }
}

TEST(ScoreChoices, LengthsOfEveryItemAndAStandardErrorOfSeveral) {
  const std::vector<ChoiceItem> items = {measured({1, 1}, {1, 1}, 2, 0), measured({}, {}, 2, 0)};
  const ChoiceResult both = score_choices(items, {{-1, -2}, {-2, -1}});
  EXPECT_DOUBLE_EQ(both.acc.value, 0.5);
  EXPECT_DOUBLE_EQ(*both.acc.standard_error, 0.5);  // sqrt(1/2 * 1/2 / 1)
  EXPECT_FALSE(both.acc_norm.has_value());
  EXPECT_FALSE(both.acc_bytes.has_value());
  const ChoiceResult one = score_choices(items, {{-1, -2}});
  EXPECT_EQ(one.items, 1);
  EXPECT_EQ(one.acc.value, 1);
  EXPECT_FALSE(one.acc.standard_error.has_value());
  EXPECT_TRUE(one.acc_norm.has_value());
  EXPECT_FALSE(one.acc_norm->standard_error.has_value());
}

class ChoiceLikelihoods : public testing::Test {
 protected:
  // Mamba, then attention that knows positions; dense and routed feed-forward parts.
  static ModelConfig tiny() {
    ModelRecipe recipe;
    recipe.family = Family::kJamba;
    recipe.hidden_size = 16;
    recipe.num_layers = 2;
    recipe.num_heads = 2;
    recipe.moe.num_experts = 3;
    recipe.layout.attention_period = 2;
    recipe.layout.attention_offset = 1;
    recipe.vocab_size = 257;
    recipe.init.std = 0.3;
    ModelConfig config = built(recipe);
    std::get<AttentionConfig>(config.layers[1].mixer).rope.type = RopeType::kDefault;
    return config;
  }

  // All logits of one sequence alone, in one pass.
  double alone(const Ids& context, const Ids& choice) const {
    Ids all = context;
    all.insert(all.end(), choice.begin(), choice.end());
    const Tensor tokens = at::tensor(Ids(all.begin(), all.end() - 1), at::kLong).unsqueeze(0);
    const Tensor logits =
        model_->logits(tokens, Documents::whole_rows(1, tokens.size(1), at::kCPU));
    const Tensor log_p = at::log_softmax(logits, -1);
    double sum = 0;
    for (size_t i = context.size(); i < all.size(); ++i) {
      sum += log_p[0][static_cast<int64_t>(i) - 1][all[i]].item<double>();
    }
    return sum;
  }

  Scores alone(const std::vector<ChoiceItem>& items) const {
    Scores scores;
    for (const ChoiceItem& item : items) {
      scores.emplace_back();
      for (const Ids& choice : item.choices) scores.back().push_back(alone(item.context, choice));
    }
    return scores;
  }

  static void expect_near(const Scores& actual, const Scores& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_EQ(actual[i].size(), expected[i].size());
      for (size_t c = 0; c < actual[i].size(); ++c) {
        EXPECT_LT(expected[i][c], -1);
        // Sums of fp64 in another order.
        EXPECT_NEAR(actual[i][c], expected[i][c], -1e-10 * expected[i][c]) << i << " " << c;
      }
    }
  }

  // Of many lengths; the second item's choices differ in their last token alone.
  static std::vector<ChoiceItem> items() {
    const auto text = [](std::string_view words) {
      Ids ids;
      for (const unsigned char c : words) ids.push_back(c);
      return ids;
    };
    return {{.context = text("to be or not"), .choices = {text(" to be"), text(" a bee")}},
            {.context = text("x"), .choices = {text(" A"), text(" B"), text(" C"), text(" D")}},
            {.context = text("what a piece of work is a man, how noble in"),
             .choices = {text("!"), text(" reason, how infinite in faculty"), text(" a")}},
            {.context = text("k"), .choices = {text("m"), text("n"), text("nm"), text("nk")}}};
  }

  const TinyModel model_{tiny(), cpu_types(at::kDouble), 3};
};

TEST_F(ChoiceLikelihoods, PackedTheyAreThoseOfEachSequenceAlone) {
  const Scores expected = alone(items());
  for (const int64_t tokens : {1, 20, 61, 100, 8192}) {
    expect_near(choice_log_likelihoods(*model_, items(), {.tokens_per_forward = tokens}), expected);
  }
  // One, two and five rows of logits at once.
  for (const int64_t logits : {1, 2 * 257, 5 * 257 + 3}) {
    expect_near(choice_log_likelihoods(*model_, items(), {.logits_at_once = logits}), expected);
  }
}

TEST_F(ChoiceLikelihoods, ALongInputKeepsItsLastTokens) {
  const Ids context = {1, 2, 3, 4, 5, 6};
  const std::vector<ChoiceItem> cut = {{.context = context, .choices = {{7}, {8, 9}, {7, 8, 9}}}};
  // Four tokens go in; the last of a choice never does.
  const Scores expected = {
      {alone({3, 4, 5, 6}, {7}), alone({4, 5, 6}, {8, 9}), alone({5, 6}, {7, 8, 9})}};
  expect_near(choice_log_likelihoods(*model_, cut, {.sequence_length = 4}), expected);
  expect_near(choice_log_likelihoods(*model_, cut, {.sequence_length = 4, .prefix_token = 256}),
              expected);
  const std::vector<ChoiceItem> longest = {{.context = context, .choices = {{7, 8, 9}, {9, 8, 7}}}};
  expect_near(choice_log_likelihoods(*model_, longest, {.sequence_length = 3}),
              {{alone({6}, {7, 8, 9}), alone({6}, {9, 8, 7})}});
}

TEST_F(ChoiceLikelihoods, ThePrefixGoesBeforeEachContextThatLacksIt) {
  const std::vector<ChoiceItem> bare = {{.context = {1, 2}, .choices = {{3}, {4, 5}}},
                                        {.context = {}, .choices = {{3}, {4, 5}}},
                                        {.context = {256, 2}, .choices = {{3}, {4, 5}}}};
  expect_near(choice_log_likelihoods(*model_, bare, {.prefix_token = 256}),
              {{alone({256, 1, 2}, {3}), alone({256, 1, 2}, {4, 5})},
               {alone({256}, {3}), alone({256}, {4, 5})},
               {alone({256, 2}, {3}), alone({256, 2}, {4, 5})}});
}

TEST_F(ChoiceLikelihoods, ProgressCountsItemsAndMayEndTheEvaluation) {
  std::vector<int64_t> seen;
  ChoiceOptions options = {.tokens_per_forward = 40};
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 4);
    seen.push_back(done);
    return true;
  };
  // Tokens of the sequences: 17 17 | 2 | 43 74 44 | 1 2. The second item's choices share one, and
  // so do the first two of the last item, and its others.
  EXPECT_EQ(evaluate_choices(*model_, items(), options).items, 4);
  EXPECT_EQ(seen, (std::vector<int64_t>{2, 2, 2, 3, 4}));

  const Scores expected = alone(items());
  options.progress = [](int64_t done, int64_t) { return done < 2; };
  expect_near(choice_log_likelihoods(*model_, items(), options), {expected[0], expected[1]});
  EXPECT_EQ(evaluate_choices(*model_, items(), options).items, 2);
}

TEST_F(ChoiceLikelihoods, TheMetricsComeFromThem) {
  std::vector<ChoiceItem> all = items();
  const Scores expected = alone(all);
  for (size_t i = 0; i < all.size(); ++i) {
    const auto best = std::max_element(expected[i].begin(), expected[i].end());
    // Three items are right.
    all[i].answer = i == 2 ? (best - expected[i].begin() + 1) % 3 : best - expected[i].begin();
  }
  const ChoiceResult result = evaluate_choices(*model_, all, {});
  EXPECT_DOUBLE_EQ(result.acc.value, 0.75);
  EXPECT_DOUBLE_EQ(*result.acc.standard_error, 0.25);  // sqrt(3/4 * 1/4 / 3)
  EXPECT_FALSE(result.acc_norm.has_value());
}

TEST_F(ChoiceLikelihoods, WhatTheReaderRefusesIsAProgrammersError) {
  EXPECT_DEATH(choice_log_likelihoods(*model_, {{.context = {}, .choices = {{1}, {2}}}}, {}),
               "some before it");
  EXPECT_DEATH(choice_log_likelihoods(*model_, {{.context = {1}, .choices = {{1, 2, 3}, {2}}}},
                                      {.sequence_length = 2}),
               "a choice of 3 tokens, at most 2");
}

}  // namespace
}  // namespace weft
