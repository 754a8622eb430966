// One token of each row by a prepared plan, against the whole sequence at once and across all that
// a state can go through between two tokens.
#include "models/token_plan.h"

#include <memory>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "tests/support/closeness.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

using Ids = std::vector<int64_t>;

// fp64 with sums in another order (tests/models/decoding_test.cpp).
constexpr double kClose = 1e-10;

Ids text(int64_t size, int64_t first) {
  Ids ids;
  for (int64_t i = 0; i < size; ++i) ids.push_back((first + 11 * i) % kTinyVocabulary);
  return ids;
}

// Attention, Mamba-1 and experts: all that has kernels for a token.
ModelRecipe planned() {
  ModelRecipe recipe = tiny_recipe(Family::kHybrid, 4);
  recipe.layout.pattern = "MAW";
  recipe.layout.feed_forward = "DEN";
  recipe.attention.sliding_window = 3;
  return recipe;
}

class TokenPlans : public testing::Test {
 protected:
  ~TokenPlans() override { at::set_num_threads(threads_); }

  Tensor next(const TinyModel& model, const Ids& tokens, DecodingState& state) const {
    return model->next_logits(at::tensor(tokens, at::kLong).unsqueeze(1), state);
  }

 private:
  const at::NoGradGuard no_grad_;
  const int threads_ = at::get_num_threads();
};

// Rotations are made for many tokens ahead: more than once here, for rows of unequal lengths.
TEST_F(TokenPlans, GiveTheLogitsOfTheWholeSequence) {
  constexpr int64_t kTokens = 150;
  const TinyModel model(planned(), {at::kDouble, at::kDouble, at::kCPU});
  const std::vector<Ids> rows = {text(kTokens + 2, 3), text(kTokens + 7, 5)};
  DecodingState state = model->new_state(2, kTokens + 7);
  for (int64_t row = 0; row < 2; ++row) {
    DecodingState part = narrow_rows(state, row, 1);
    const Tensor tokens = token_row(rows[row]);
    model->extend(tokens.narrow(1, 0, tokens.size(1) - kTokens), part);
    put_rows(std::move(part), row, state);
  }
  const Tensor whole[] = {whole_logits(*model, rows[0]), whole_logits(*model, rows[1])};
  for (int64_t i = 0; i < kTokens; ++i) {
    const Tensor logits = next(model, {rows[0][2 + i], rows[1][7 + i]}, state);
    EXPECT_LE(max_difference(logits[0], whole[0][2 + i]), kClose) << i;
    EXPECT_LE(max_difference(logits[1], whole[1][7 + i]), kClose) << i;
  }
  EXPECT_EQ(state.lengths, (Ids{kTokens + 2, kTokens + 7}));
}

// Threads find the experts of a token for themselves, from a router that each of them reads or,
// with 160 experts, all of them together; in memory that the next layer takes again.
TEST_F(TokenPlans, GiveTheSameForAnyNumberOfThreads) {
  for (const int64_t experts : {4, 160}) {
    ModelRecipe recipe = planned();
    recipe.layout.feed_forward = "E";
    recipe.moe.num_experts = experts;
    recipe.intermediate_size = 128;
    const TinyModel model(recipe, {at::kDouble, at::kDouble, at::kCPU});
    const Ids rows[] = {text(6, 3), text(6, 5)};
    const Tensor whole[] = {whole_logits(*model, rows[0]), whole_logits(*model, rows[1])};
    for (const int threads : {1, 2, 5}) {
      at::set_num_threads(threads);
      DecodingState state = model->new_state(2, 6);
      for (int64_t i = 0; i < 6; ++i) {
        const Tensor logits = next(model, {rows[0][i], rows[1][i]}, state);
        for (int64_t row = 0; row < 2; ++row) {
          EXPECT_LE(max_difference(logits[row], whole[row][i]), kClose)
              << experts << " experts, " << threads << " threads, token " << i;
        }
      }
      EXPECT_NE(state.plan, nullptr);
    }
  }
}

// The next token's logits are in the same memory, unless somebody still looks there.
TEST_F(TokenPlans, LeaveLogitsAloneThatACallerHas) {
  const TinyModel model(planned(), {at::kDouble, at::kDouble, at::kCPU});
  DecodingState state = model->new_state(1, 8);
  const Tensor whole = next(model, {3}, state), whole_then = whole.clone();
  const Tensor part = next(model, {5}, state)[0], part_then = part.clone();
  const void* const last = next(model, {7}, state).data_ptr();
  const Tensor there_if_freed = at::empty_like(whole);
  EXPECT_EQ(next(model, {9}, state).data_ptr(), last);
  EXPECT_TRUE(whole.equal(whole_then));
  EXPECT_TRUE(part.equal(part_then));
}

// A token's attention is in parts of 512 slots: in two of them at the end.
TEST_F(TokenPlans, GiveTheLogitsOfALongSequence) {
  constexpr int64_t kTokens = 600, kPrompt = 500;
  const TinyModel model(tiny_recipe(Family::kLlama, 2), {at::kDouble, at::kDouble, at::kCPU});
  const Ids ids = text(kTokens, 3);
  const Tensor whole = whole_logits(*model, ids);
  DecodingState state = model->new_state(1, kTokens);
  model->extend(token_row(ids).narrow(1, 0, kPrompt), state);
  for (int64_t i = kPrompt; i < kTokens; ++i) {
    const Tensor logits = next(model, {ids[static_cast<size_t>(i)]}, state);
    EXPECT_LE(max_difference(logits[0], whole[i]), kClose) << i;
  }
}

// Rounded where layers of their own round, whether the residual stream is in fp32 or not. Without
// experts, of which a last bit may choose others.
TEST_F(TokenPlans, GiveTheLogitsOfOperatorsInBf16) {
  for (const bool residual_fp32 : {false, true}) {
    ModelRecipe recipe = planned();
    recipe.layout.feed_forward = "D";
    ModelConfig config = built(recipe);
    config.residual_fp32 = residual_fp32;
    const TinyModel model(config, {at::kFloat, at::kBFloat16, at::kCPU});
    DecodingState state = model->new_state(1, 5), nine = model->new_state(9, 5);
    for (const int64_t token : {3, 8, 1, 30, 2}) {
      const Tensor logits = next(model, {token}, state);
      const Tensor operators = next(model, Ids(9, token), nine);  // too many rows for kernels
      EXPECT_EQ(logits.scalar_type(), at::kFloat);
      EXPECT_LE(max_difference(logits[0], operators[4]), 0.05 * max_magnitude(operators));
    }
    EXPECT_NE(state.plan, nullptr);
    EXPECT_EQ(nine.plan, nullptr);
  }
}

TEST_F(TokenPlans, StayUntilTheStateOrTheThreadsAreOthers) {
  const TinyModel model(planned(), {at::kDouble, at::kDouble, at::kCPU});
  DecodingState state = model->new_state(2, 9);
  next(model, {1, 2}, state);
  const std::shared_ptr<TokenPlan> first = state.plan;
  ASSERT_NE(first, nullptr);
  next(model, {3, 4}, state);
  EXPECT_EQ(state.plan, first);
  model->extend(at::tensor({1, 2, 3, 4}, at::kLong).view({2, 2}), state);  // in the same memory
  DecodingState part = narrow_rows(state, 1, 1);
  EXPECT_EQ(part.plan, nullptr);
  next(model, {5}, part);
  EXPECT_NE(part.plan, first);
  const std::shared_ptr<TokenPlan> before = state.plan;
  at::set_num_threads(at::get_num_threads() + 1);
  next(model, {3, 4}, state);
  EXPECT_NE(state.plan, before);
  const TinyModel other(planned(), {at::kDouble, at::kDouble, at::kCPU});
  const std::shared_ptr<TokenPlan> of_model = state.plan;
  next(other, {3, 4}, state);
  EXPECT_NE(state.plan, of_model);
}

// What one state's plan left behind is not seen by the next one, nor by a copy.
TEST_F(TokenPlans, AreOfOneStateEach) {
  const TinyModel model(planned(), {at::kDouble, at::kDouble, at::kCPU});
  const Ids ids = text(12, 3);
  const Tensor whole = whole_logits(*model, ids);
  DecodingState a = model->new_state(1, 12), b = model->new_state(1, 12);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i == 6) {  // a copy goes on in the same memory
      DecodingState copy = a;
      a = std::move(copy);
    }
    EXPECT_LE(max_difference(next(model, {ids[i]}, a)[0], whole[static_cast<int64_t>(i)]), kClose);
    if (i % 2 == 0) next(model, {1}, b);
  }
  clear(a);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LE(max_difference(next(model, {ids[i]}, a)[0], whole[static_cast<int64_t>(i)]), kClose);
  }
}

TEST_F(TokenPlans, AreForModelsWithKernelsAlone) {
  for (const Family family : {Family::kLlama, Family::kMamba, Family::kMixtral, Family::kJamba}) {
    const TinyModel model(tiny_recipe(family, 2), {at::kDouble, at::kDouble, at::kCPU});
    DecodingState state = model->new_state(1, 4);
    next(model, {1}, state);
    EXPECT_NE(state.plan, nullptr) << static_cast<int>(family);
  }
  for (const Family family : {Family::kGpt2, Family::kMamba2}) {
    const TinyModel model(tiny_recipe(family, 2), {at::kDouble, at::kDouble, at::kCPU});
    DecodingState state = model->new_state(1, 4);
    next(model, {1}, state);
    EXPECT_EQ(state.plan, nullptr) << static_cast<int>(family);
  }
}

using TokenPlansDeathTest = TokenPlans;
TEST_F(TokenPlansDeathTest, RefuseTokensThatTheModelLacks) {
  const TinyModel model(planned(), {at::kDouble, at::kDouble, at::kCPU});
  DecodingState state = model->new_state(1, 4);
  EXPECT_DEATH(next(model, {kTinyVocabulary}, state), "token 37 of 37");
  EXPECT_DEATH(next(model, {-1}, state), "token -1 of ");
}

}  // namespace
}  // namespace weft
