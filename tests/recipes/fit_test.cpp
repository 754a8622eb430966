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
  const int64_t longest = longest_sequence(recipe, kFp32, {bytes}).tokens;
  EXPECT_GT(longest, 2048);
  EXPECT_EQ(
      longest_sequence(recipe_with("llama", "{recompute: block}", 8192), kFp32, {bytes}).tokens,
      longest);
  EXPECT_LE(bytes_of(with_length(recipe, longest)), bytes);
  EXPECT_GT(bytes_of(with_length(recipe, longest + 1)), bytes);
  EXPECT_EQ(longest_sequence(recipe, kFp32, {1 << 20}).tokens, 0);
  EXPECT_GT(
      longest,
      longest_sequence(recipe_with("llama", "{recompute: none}", 8192), kFp32, {bytes}).tokens);
}

TEST(LongestSequence, EndsWhereLearnedPositionsDo) {
  const Recipe recipe = recipe_with("gpt2", "{recompute: none}", 2048);
  EXPECT_EQ(longest_sequence(recipe, kFp32, {int64_t{1} << 50}).tokens,
            build_config(recipe.model).learned_positions);
}

TEST(FitMiniSequences, MakesThemSmallOnlyWhereThatHelps) {
  const auto rule = [](const Recipe& recipe) { return recipe.memory.mini_sequences.word; };
  Recipe enough = recipe_with("llama", "{mini_sequences: auto}", 8192);
  const int64_t all = bytes_of(enough);
  EXPECT_EQ(fit_mini_sequences(enough, kFp32, {all}).total(), all);
  EXPECT_EQ(rule(enough), MiniSequenceRule::kAuto);
  Recipe little = enough;
  const int64_t smaller = fit_mini_sequences(little, kFp32, {all - 1}).total();
  EXPECT_EQ(rule(little), MiniSequenceRule::kSmall);
  EXPECT_LT(smaller, all);
  EXPECT_EQ(bytes_of(little), smaller);
  Recipe none = enough;  // too little with slices too
  EXPECT_EQ(fit_mini_sequences(none, kFp32, {1}).total(), all);
  EXPECT_EQ(rule(none), MiniSequenceRule::kAuto);
  Recipe few = with_length(enough, 100);  // tokens: slices are no smaller
  fit_mini_sequences(few, kFp32, {1});
  EXPECT_EQ(rule(few), MiniSequenceRule::kAuto);
  Recipe whole = recipe_with("llama", "{mini_sequences: none}", 8192);
  fit_mini_sequences(whole, kFp32, {1});
  EXPECT_EQ(rule(whole), MiniSequenceRule::kNone);
}

// Every plan takes what it says with its settings, and no more than there is.
void expect_true(const Recipe& recipe, const Room& room, const std::vector<SmallerPlan>& plans) {
  for (const SmallerPlan& plan : plans) {
    EXPECT_LE(plan.memory.total(), room.device);
    EXPECT_LE(plan.memory.host, room.host);
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
      } else if (set == "memory.offload=true" || set == "memory.offload=false") {
        changed.memory.offload = set == "memory.offload=true";
      } else {
        EXPECT_EQ(set, "stages.0.micro_batch_tokens=2048");
        changed.stages[0].micro_batch_tokens = Auto<int64_t>(2048);
      }
    }
    EXPECT_EQ(bytes_of(changed), plan.memory.total());
    EXPECT_EQ(plan_memory(changed, kFp32).host, plan.memory.host);
  }
}

TEST(PlansThatFit, AreAsFewSettingsAsItTakes) {
  const Recipe recipe = recipe_with("llama", "{mini_sequences: none, recompute_every: 2}", 8192);
  const int64_t all = bytes_of(recipe);
  const std::vector<SmallerPlan> little = plans_that_fit(recipe, kFp32, {all - (10 << 20)});
  ASSERT_GE(little.size(), 3u);
  EXPECT_EQ(little[0].sets, (std::vector<std::string>{"memory.mini_sequences=small"}));
  EXPECT_EQ(little[1].sets,
            (std::vector<std::string>{"memory.recompute=selective", "memory.recompute_every=1"}));
  expect_true(recipe, {all - (10 << 20)}, little);

  const Recipe one = with_length(recipe, 2048);
  Recipe smallest = one;
  smallest.memory = {.mini_sequences = MiniSequenceRule::kSmall, .recompute = Recompute::kBlock};
  const std::vector<SmallerPlan> last = plans_that_fit(recipe, kFp32, {bytes_of(smallest)});
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].sets, (std::vector<std::string>{
                              "stages.0.micro_batch_tokens=2048", "memory.mini_sequences=small",
                              "memory.recompute=block", "memory.recompute_every=1"}));
  expect_true(recipe, {bytes_of(smallest)}, last);
  EXPECT_TRUE(plans_that_fit(recipe, kFp32, {bytes_of(smallest) - 1}).empty());
}

// On a GPU layers' inputs can wait in the host's memory where nothing less is enough.
TEST(PlansThatFit, OffloadWhereTheHostHasRoom) {
  Recipe recipe = recipe_with("llama", "{mini_sequences: small, recompute: block}", 2048);
  recipe.device = DeviceKind::kCuda;
  Recipe offloading = recipe;
  offloading.memory.offload = true;
  const MemoryPlan plan = plan_memory(offloading, kFp32);
  ASSERT_LT(plan.total(), bytes_of(recipe));
  const Room room{.device = plan.total(), .host = plan.host};
  const Room less{.device = plan.total(), .host = plan.host - 1};
  const std::vector<SmallerPlan> plans = plans_that_fit(recipe, kFp32, room);
  ASSERT_EQ(plans.size(), 1u);
  EXPECT_EQ(plans[0].sets, (std::vector<std::string>{"memory.offload=true"}));
  expect_true(recipe, room, plans);
  EXPECT_EQ(fitting_words(recipe, kFp32, room),
            absl::StrCat("it fits with memory.offload=true (", plan_text(plan), ")"));
  EXPECT_TRUE(plans_that_fit(recipe, kFp32, less).empty());
  EXPECT_EQ(longest_sequence(offloading, kFp32, room).tokens, 2048);
  EXPECT_LT(longest_sequence(offloading, kFp32, less).tokens, 2048);

  Recipe plain = recipe_with("llama", "{mini_sequences: small, recompute_every: 2}", 2048);
  plain.device = DeviceKind::kCuda;
  const std::vector<SmallerPlan> both = plans_that_fit(plain, kFp32, room);
  ASSERT_EQ(both.size(), 1u);
  EXPECT_EQ(both[0].sets,
            (std::vector<std::string>{"memory.recompute=block", "memory.recompute_every=1",
                                      "memory.offload=true"}));
  for (const SmallerPlan& one : plans_that_fit(plain, kFp32, {.device = bytes_of(recipe)})) {
    EXPECT_EQ(one.memory.host, 0);  // nothing is offloaded that need not be
  }
}

TEST(PlansThatFit, ComeBackFromAHostThatHasTooLittle) {
  Recipe recipe =
      recipe_with("llama", "{mini_sequences: small, recompute: block, offload: true}", 2048);
  recipe.device = DeviceKind::kCuda;
  Recipe back = recipe;
  back.memory.offload = false;
  const Room room{.device = bytes_of(back), .host = plan_memory(recipe, kFp32).host - 1};
  const std::vector<SmallerPlan> plans = plans_that_fit(recipe, kFp32, room);
  ASSERT_EQ(plans.size(), 1u);
  EXPECT_EQ(plans[0].sets, (std::vector<std::string>{"memory.offload=false"}));
  expect_true(recipe, room, plans);
  recipe.memory.recompute_every = 2;
  expect_true(recipe, room, plans_that_fit(recipe, kFp32, room));
}

TEST(FittingWords, NameTheSettingsOrTheLongestSequence) {
  const Recipe recipe = recipe_with("llama", "{mini_sequences: small, recompute: block}", 2048);
  const int64_t all = bytes_of(recipe);
  const Recipe more = recipe_with("llama", "{mini_sequences: small}", 2048);
  EXPECT_EQ(fitting_words(more, kFp32, {all}).find("it fits with memory.recompute=block ("), 0u);
  const LongestSequence longest = longest_sequence(recipe, kFp32, {all - 1});
  EXPECT_EQ(fitting_words(recipe, kFp32, {all - 1}),
            absl::StrCat("with memory.mini_sequences=small memory.recompute=block sequences of up "
                         "to ",
                         longest.tokens, " tokens fit, one a forward pass (",
                         plan_text(longest.plan), ")"));
  EXPECT_EQ(fitting_words(recipe, kFp32, {1}), "no setting makes this model fit");
}

// With what the recipe has besides, and in the host only where sequences get longer by it.
TEST(FittingWords, NameAllThatTheLongestSequenceTakes) {
  Recipe recipe = recipe_with("llama", "{recompute: block, recompute_every: 2}", 2048);
  recipe.device = DeviceKind::kCuda;
  Recipe least = recipe;
  least.memory = {MiniSequenceRule::kSmall, Recompute::kBlock, 1, /*offload=*/true};
  const int64_t bytes = bytes_of(least) - 1;
  const auto sets = [&](int64_t host) {
    const std::string words = fitting_words(recipe, kFp32, {.device = bytes, .host = host});
    return words.substr(0, words.find(" sequences of up to "));
  };
  const std::string in_slices =
      "with memory.mini_sequences=small memory.recompute=block memory.recompute_every=1";
  EXPECT_EQ(sets(int64_t{1} << 40), in_slices + " memory.offload=true");
  EXPECT_EQ(sets(0), in_slices);
  recipe.memory.offload = true;
  EXPECT_EQ(sets(int64_t{1} << 40), in_slices);
  EXPECT_EQ(sets(0), in_slices + " memory.offload=false");
}

}  // namespace
}  // namespace weft
