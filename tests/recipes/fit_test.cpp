#include "recipes/fit.h"

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "base/check.h"
#include "recipes/load.h"
#include "recipes/plan.h"

namespace weft {
namespace {

constexpr int kFp32 = 4;

Recipe recipe_with(const std::string& family, const std::string& memory,
                   int64_t micro_batch_tokens) {
  auto recipe = parse_recipe(
      absl::StrCat("name: fit\nmodel: {family: ", family,
                   ", hidden_size: 64, num_layers: 4, num_heads: 2, intermediate_size: 512, "
                   "vocab_size: 5000}\nthreads: 2\nmemory: ",
                   memory,
                   "\nstages:\n- {steps: 1, sequence_length: 2048, batch_tokens: 8192, "
                   "micro_batch_tokens: ",
                   micro_batch_tokens, ", data: {sources: [{path: x}]}}\n"),
      "fit");
  WEFT_CHECK(recipe.ok(), recipe.status());
  return *std::move(recipe);
}

int64_t bytes_of(const Recipe& recipe) { return plan_memory(recipe, kFp32).total(); }

Recipe with_length(Recipe recipe, int64_t length) {
  recipe.stages[0].sequence_length = length;
  recipe.stages[0].micro_batch_tokens = Auto<int64_t>(length);
  return recipe;
}

TEST(LongestSequence, IsTheLongestThatThePlanAllows) {
  const Recipe recipe = recipe_with("llama", "{mini_sequences: small, recompute: block}", 8192);
  const int64_t bytes = int64_t{600} << 20;
  const int64_t longest = longest_sequence(recipe, kFp32, bytes);
  EXPECT_GT(longest, 2048);
  EXPECT_EQ(longest_sequence(recipe_with("llama", "{recompute: block}", 8192), kFp32, bytes),
            longest);
  EXPECT_LE(bytes_of(with_length(recipe, longest)), bytes);
  EXPECT_GT(bytes_of(with_length(recipe, longest + 1)), bytes);
  EXPECT_EQ(longest_sequence(recipe, kFp32, 1 << 20), 0);
  EXPECT_GT(longest_sequence(recipe, kFp32, bytes),
            longest_sequence(recipe_with("llama", "{recompute: none}", 8192), kFp32, bytes));
}

TEST(LongestSequence, EndsWhereLearnedPositionsDo) {
  const Recipe recipe = recipe_with("gpt2", "{recompute: none}", 2048);
  EXPECT_EQ(longest_sequence(recipe, kFp32, int64_t{1} << 50),
            build_config(recipe.model).learned_positions);
}

TEST(FitMiniSequences, MakesThemSmallOnlyWhereThatHelps) {
  const auto rule = [](const Recipe& recipe) { return recipe.memory.mini_sequences.word; };
  Recipe enough = recipe_with("llama", "{mini_sequences: auto}", 8192);
  const int64_t all = bytes_of(enough);
  EXPECT_EQ(fit_mini_sequences(enough, kFp32, all), all);
  EXPECT_EQ(rule(enough), MiniSequenceRule::kAuto);
  Recipe little = enough;
  const int64_t smaller = fit_mini_sequences(little, kFp32, all - 1);
  EXPECT_EQ(rule(little), MiniSequenceRule::kSmall);
  EXPECT_LT(smaller, all);
  EXPECT_EQ(bytes_of(little), smaller);
  Recipe none = enough;  // too little with slices too
  EXPECT_EQ(fit_mini_sequences(none, kFp32, 1), all);
  EXPECT_EQ(rule(none), MiniSequenceRule::kAuto);
  Recipe few = with_length(enough, 100);  // tokens: slices are no smaller
  fit_mini_sequences(few, kFp32, 1);
  EXPECT_EQ(rule(few), MiniSequenceRule::kAuto);
  Recipe whole = recipe_with("llama", "{mini_sequences: none}", 8192);
  fit_mini_sequences(whole, kFp32, 1);
  EXPECT_EQ(rule(whole), MiniSequenceRule::kNone);
}

// Every plan takes what it says with its settings, and no more than asked for.
void expect_true(const Recipe& recipe, int64_t bytes, const std::vector<SmallerPlan>& plans) {
  for (const SmallerPlan& plan : plans) {
    EXPECT_LE(plan.bytes, bytes);
    Recipe changed = recipe;
    for (const std::string& set : plan.sets) {
      if (set == "memory.mini_sequences=small") {
        changed.memory.mini_sequences = MiniSequenceRule::kSmall;
      } else if (set == "memory.recompute=selective") {
        changed.memory.recompute = Recompute::kSelective;
      } else if (set == "memory.recompute=block") {
        changed.memory.recompute = Recompute::kBlock;
      } else if (set == "memory.recompute_every=1") {
        changed.memory.recompute_every = 1;
      } else {
        EXPECT_EQ(set, "stages.0.micro_batch_tokens=2048");
        changed.stages[0].micro_batch_tokens = Auto<int64_t>(2048);
      }
    }
    EXPECT_EQ(bytes_of(changed), plan.bytes);
  }
}

TEST(PlansThatFit, AreAsFewSettingsAsItTakes) {
  const Recipe recipe = recipe_with("llama", "{mini_sequences: none, recompute_every: 2}", 8192);
  const int64_t all = bytes_of(recipe);
  const std::vector<SmallerPlan> little = plans_that_fit(recipe, kFp32, all - (10 << 20));
  ASSERT_GE(little.size(), 3u);
  EXPECT_EQ(little[0].sets, (std::vector<std::string>{"memory.mini_sequences=small"}));
  EXPECT_EQ(little[1].sets,
            (std::vector<std::string>{"memory.recompute=selective", "memory.recompute_every=1"}));
  expect_true(recipe, all - (10 << 20), little);

  const Recipe one = with_length(recipe, 2048);
  Recipe smallest = one;
  smallest.memory = {.mini_sequences = MiniSequenceRule::kSmall, .recompute = Recompute::kBlock};
  const std::vector<SmallerPlan> last = plans_that_fit(recipe, kFp32, bytes_of(smallest));
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].sets, (std::vector<std::string>{
                              "stages.0.micro_batch_tokens=2048", "memory.mini_sequences=small",
                              "memory.recompute=block", "memory.recompute_every=1"}));
  expect_true(recipe, bytes_of(smallest), last);
  EXPECT_TRUE(plans_that_fit(recipe, kFp32, bytes_of(smallest) - 1).empty());
}

TEST(FittingWords, NameTheSettingsOrTheLongestSequence) {
  const Recipe recipe = recipe_with("llama", "{mini_sequences: small, recompute: block}", 2048);
  const int64_t all = bytes_of(recipe);
  const Recipe more = recipe_with("llama", "{mini_sequences: small}", 2048);
  EXPECT_EQ(fitting_words(more, kFp32, all).find("it fits with memory.recompute=block ("), 0u);
  const int64_t longest = longest_sequence(recipe, kFp32, all - 1);
  EXPECT_EQ(fitting_words(recipe, kFp32, all - 1),
            absl::StrCat("with memory.mini_sequences=small memory.recompute=block sequences of up "
                         "to ",
                         longest, " tokens fit, one a forward pass"));
  EXPECT_EQ(fitting_words(recipe, kFp32, 1), "no setting makes this model fit");
}

}  // namespace
}  // namespace weft
