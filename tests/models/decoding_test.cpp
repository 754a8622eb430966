// Decoding with state against the whole sequence at once, in fp64, for models that no published
// checkpoint has: every kind of mixer and feed-forward part in one, sliding windows shorter and
// longer than the state has room for, and rotary positions that depend on the length.
#include <ostream>
#include <string>
#include <variant>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/block.h"
#include "models/decoding_state.h"
#include "tests/support/closeness.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

using Ids = std::vector<int64_t>;

// fp64 with sums in another order: 1e-16 times the few hundred terms of a logit near 1, and what
// the layers after make of it.
constexpr double kClose = 1e-10;
constexpr int64_t kLength = 13;

struct DecodingCase {
  const char* name;
  ModelRecipe (*recipe)();
  int64_t capacity = kLength;  // of the state
};
void PrintTo(const DecodingCase& c, std::ostream* out) { *out << c.name; }

// Mamba-1, Mamba-2, attention and a window of 3 tokens, dense, with experts and without.
ModelRecipe mixed() {
  ModelRecipe recipe = tiny_recipe(Family::kHybrid, 8);
  recipe.layout.pattern = "MSAW";
  recipe.layout.feed_forward = "DEN";
  recipe.attention.sliding_window = 3;
  recipe.mamba.state_size = 5;
  recipe.intermediate_size = 24;
  return recipe;
}

// The same kinds of layers by periods: W at 1, 3 and 5, A at 2, Mamba-2 at 0 and 4.
ModelRecipe by_periods() {
  ModelRecipe recipe = tiny_recipe(Family::kHybrid, 6);
  recipe.layout.mixer = MixerKind::kMamba2;
  recipe.layout.attention_period = 6;
  recipe.layout.attention_offset = 2;
  recipe.layout.window_period = 2;
  recipe.layout.moe_period = 2;
  recipe.attention.sliding_window = 4;
  return recipe;
}

// A ring of one slot: every token sees itself alone in these layers.
ModelRecipe window_of_one() {
  ModelRecipe recipe = tiny_recipe(Family::kMixtral, 2);
  recipe.attention.sliding_window = 1;
  return recipe;
}

ModelRecipe window_of_five() {
  ModelRecipe recipe = tiny_recipe(Family::kMixtral, 3);
  recipe.attention.sliding_window = 5;
  return recipe;
}

// There are fewer slots than the window has tokens.
ModelRecipe long_window() {
  ModelRecipe recipe = tiny_recipe(Family::kMixtral, 3);
  recipe.attention.sliding_window = 64;
  return recipe;
}

// All of kLength tokens are within the original context; their rotations differ from those of a
// longer text, and keys are kept without them.
ModelRecipe dynamic() {
  ModelRecipe recipe = tiny_recipe(Family::kLlama, 3);
  recipe.max_position = 64;
  recipe.rope.type = RopeType::kDynamic;
  recipe.rope.factor = 4;
  recipe.rope.original_max_position = 16;
  return recipe;
}

// Heads are normalised, before keys are kept or turned.
ModelRecipe with_head_norms(ModelRecipe recipe) {
  recipe.family = Family::kHybrid;
  recipe.attention.qk_norm = true;
  return recipe;
}
ModelRecipe normed_dynamic() { return with_head_norms(dynamic()); }
ModelRecipe normed_mixed() { return with_head_norms(mixed()); }
ModelRecipe normed_without_positions() {
  ModelRecipe recipe = with_head_norms(mixed());
  recipe.rope.type = RopeType::kNone;
  return recipe;
}

ModelRecipe dynamic_hybrid() {
  ModelRecipe recipe = dynamic();
  recipe.family = Family::kHybrid;
  recipe.num_layers = 4;
  recipe.layout.pattern = "MASA";
  recipe.layout.feed_forward = "ED";
  return recipe;
}

// [T, V], the tokens given in pieces that end at `ends`.
Tensor in_pieces(const CausalLM& model, const Ids& ids, const std::vector<int64_t>& ends,
                 int64_t capacity) {
  const at::NoGradGuard no_grad;
  DecodingState state = model.new_state(1, capacity);
  const Tensor tokens = token_row(ids);
  std::vector<Tensor> logits;
  int64_t begin = 0;
  for (const int64_t end : ends) {
    logits.push_back(model.head(model.extend(tokens.narrow(1, begin, end - begin), state))[0]);
    begin = end;
  }
  EXPECT_EQ(state.lengths, Ids{begin});
  return at::cat(logits);
}

// One state with a row for each prompt.
DecodingState prefilled(const CausalLM& model, const std::vector<Ids>& prompts, int64_t capacity) {
  DecodingState state = model.new_state(static_cast<int64_t>(prompts.size()), capacity);
  for (size_t row = 0; row < prompts.size(); ++row) {
    const auto first = static_cast<int64_t>(row);
    DecodingState part = narrow_rows(state, first, 1);
    model.extend(token_row(prompts[row]), part);
    put_rows(std::move(part), first, state);
  }
  return state;
}

class Decoding : public testing::TestWithParam<DecodingCase> {
 protected:
  // Different at every place, so that a token taken for another shows.
  static Ids text(int64_t size, int64_t first = 3) {
    Ids ids;
    for (int64_t i = 0; i < size; ++i) ids.push_back((first + 11 * i) % kTinyVocabulary);
    return ids;
  }

  const TinyModel model_{GetParam().recipe()};
  const Ids ids_ = text(kLength);
  const Tensor whole_ = whole_logits(*model_, ids_);
};

TEST_P(Decoding, TokenByTokenGivesTheLogitsOfTheWholeSequence) {
  std::vector<int64_t> ends;
  for (int64_t end = 1; end <= kLength; ++end) ends.push_back(end);
  const Tensor logits = in_pieces(*model_, ids_, ends, GetParam().capacity);
  ASSERT_EQ(logits.sizes(), at::IntArrayRef({kLength, kTinyVocabulary}));
  EXPECT_EQ(logits.scalar_type(), at::kDouble);
  EXPECT_LE(max_difference(logits, whole_), kClose);
  EXPECT_GT(max_difference(whole_[0], whole_[kLength - 1]), 1e-2);  // the logits do differ
}

TEST_P(Decoding, TwoPrefillsAtEverySplitGiveTheLogitsOfTheWholeSequence) {
  for (int64_t split = 1; split < kLength; ++split) {
    EXPECT_LE(
        max_difference(in_pieces(*model_, ids_, {split, kLength}, GetParam().capacity), whole_),
        kClose)
        << split;
  }
}

TEST_P(Decoding, APrefillThenTokensGivesTheLogitsOfTheWholeSequence) {
  for (const int64_t prompt : {1, 2, 3, 4, 5, 6, 12}) {
    std::vector<int64_t> ends;
    for (int64_t end = prompt; end <= kLength; ++end) ends.push_back(end);
    EXPECT_LE(max_difference(in_pieces(*model_, ids_, ends, GetParam().capacity), whole_), kClose)
        << prompt;
  }
}

TEST_P(Decoding, RowsOfUnequalLengthsGiveTheLogitsOfEachAlone) {
  const at::NoGradGuard no_grad;
  const std::vector<Ids> rows = {text(10, 3), text(13, 8), text(6, 20)};
  constexpr int64_t kNew = 4;  // tokens that all rows get together, after what they have alone
  std::vector<Ids> prompts;
  for (const Ids& row : rows) prompts.emplace_back(row.begin(), row.end() - kNew);
  DecodingState state = prefilled(*model_, prompts, GetParam().capacity);
  ASSERT_EQ(state.lengths, (Ids{6, 9, 2}));
  for (int64_t step = 0; step < kNew; ++step) {
    Ids next;
    for (const Ids& row : rows) next.push_back(row[row.size() - kNew + step]);
    const Tensor logits =
        model_->head(model_->extend(at::tensor(next, at::kLong).unsqueeze(1), state));
    std::vector<Tensor> alone;
    for (const Ids& row : rows) {
      const auto size = static_cast<int64_t>(row.size());
      alone.push_back(whole_logits(*model_, row).narrow(0, size - kNew + step, 1));
    }
    EXPECT_LE(max_difference(logits, at::stack(alone)), kClose) << step;
  }
  EXPECT_EQ(state.lengths, (Ids{10, 13, 6}));
}

// Nine rows go by operators, eight and one by kernels of their own, on the same state.
TEST_P(Decoding, NineRowsAndThenFewerGiveTheLogitsOfEachAlone) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kPrompt = 3;
  std::vector<Ids> rows;
  std::vector<Tensor> tokens, whole;
  for (int64_t row = 0; row < 9; ++row) {
    rows.push_back(text(kPrompt + 3, 4 * row));
    tokens.push_back(token_row(rows.back()));
    whole.push_back(whole_logits(*model_, rows.back()));
  }
  const Tensor all = at::cat(tokens), expected = at::stack(whole);
  DecodingState state = model_->new_state(9, GetParam().capacity);
  model_->extend(all.narrow(1, 0, kPrompt), state);
  int64_t at = kPrompt;
  for (const int64_t count : {9, 8, 1}) {
    DecodingState part = narrow_rows(state, 0, count);
    const Tensor next = all.narrow(0, 0, count).narrow(1, at, 1);
    const Tensor logits = model_->head(model_->extend(next, part));
    EXPECT_LE(max_difference(logits, expected.narrow(0, 0, count).narrow(1, at, 1)), kClose)
        << count;
    state = std::move(part);
    ++at;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Decoding,
    testing::Values(
        DecodingCase{"mixed", mixed}, DecodingCase{"mixed_with_room", mixed, 100},
        DecodingCase{"by_periods", by_periods}, DecodingCase{"window_of_one", window_of_one},
        DecodingCase{"window_of_five", window_of_five, 40},
        DecodingCase{"room_below_the_window", long_window}, DecodingCase{"dynamic", dynamic},
        DecodingCase{"normed_dynamic", normed_dynamic}, DecodingCase{"normed_mixed", normed_mixed},
        DecodingCase{"normed_without_positions", normed_without_positions},
        DecodingCase{"dynamic_hybrid", dynamic_hybrid, 16}),
    [](const auto& info) { return std::string(info.param.name); });

// Mamba-1, attention and a window: dense, for a choice of experts may turn on a last bit.
ModelRecipe dense() {
  ModelRecipe recipe = mixed();
  recipe.num_layers = 3;
  recipe.layout.pattern = "MAW";
  recipe.layout.feed_forward = "D";
  return recipe;
}

// In bf16, with a residual stream in bf16 and in fp32: at most twice as far from the truth as the
// whole sequence at once.
TEST(DecodingInBf16, IsAsExactAsTheWholeSequence) {
  const Ids ids = {3, 14, 25, 36, 10, 21, 32};
  for (const bool residual_fp32 : {false, true}) {
    ModelRecipe recipe = dense();
    recipe.residual_fp32.value = residual_fp32;
    const TinyModel model(recipe, {at::kFloat, at::kBFloat16, at::kCPU});
    const TinyModel exact(recipe, {at::kDouble, at::kDouble, at::kCPU});
    const Tensor truth = whole_logits(*exact, ids), plain = whole_logits(*model, ids);
    const Tensor ours = in_pieces(*model, ids, {3, 4, 5, 6, 7}, 8);
    expect_as_exact(ours, plain, truth);
    EXPECT_GT(max_difference(plain, truth), 0);
  }
}

// A few rows of a residual stream are added to where they are: that is how the kernels are told
// from operators.
TEST(BlockDecoding, FewRowsGoThroughTheKernels) {
  const at::NoGradGuard no_grad;
  const ModelConfig config = built(mixed());
  const ParameterTable table = parameter_table(config);
  ParameterStore store(table, cpu_types(at::kDouble));
  store.initialize(1);
  for (const int64_t rows : {1, 8, 9}) {
    DecodingState state = new_decoding_state(config, rows, 4, at::kDouble, at::kCPU);
    for (size_t layer = 0; layer < config.layers.size(); ++layer) {
      const Block block(config, static_cast<int64_t>(layer), {}, store);
      NewTokens tokens{.count = 1,
                       .lengths = state.lengths,
                       .starts = at::zeros({rows, 1}, at::kBool),
                       .rotations = Rotations(at::zeros({rows, 1}, at::kLong))};
      const Tensor before = at::ones({rows, 1, config.hidden_size}, at::kDouble);
      Tensor x = before;  // `before` keeps the memory, so that a new x can't be where it was
      block.extend(tokens, state.layers[layer], x);
      const bool mamba2 = std::holds_alternative<Mamba2Config>(config.layers[layer].mixer);
      EXPECT_EQ(x.is_alias_of(before), rows <= 8 && !mamba2) << rows << " rows, layer " << layer;
      EXPECT_GT(max_difference(x, at::ones_like(x)), 0);
    }
  }
}

// Behind the final norm there is one kernel for a few rows, and operators for more of them and for
// LayerNorm.
TEST(NextLogits, AreTheHeadOfTheLastToken) {
  const at::NoGradGuard no_grad;
  for (const Family family : {Family::kJamba, Family::kGpt2}) {
    const TinyModel model(tiny_recipe(family, 2), {at::kDouble, at::kDouble, at::kCPU});
    for (const int64_t rows : {1, 3, 9}) {
      DecodingState state = model->new_state(rows, 4), other = model->new_state(rows, 4);
      for (const Tensor& row : {token_row({5, 7, 2}), token_row({6})}) {
        const Tensor tokens = row.expand({rows, row.size(1)}).contiguous();
        const Tensor logits = model->next_logits(tokens, state);
        const Tensor expected = model->head(model->extend(tokens, other)).select(1, -1);
        EXPECT_EQ(logits.sizes(), expected.sizes());
        EXPECT_LT(max_difference(logits, expected), kClose) << rows << " rows";
        EXPECT_EQ(state.lengths, other.lengths);
      }
    }
  }
}

// Nothing that the state has kept of the layers outlives it.
TEST(ClearedState, DecodesWithTheWeightsOfNow) {
  const at::NoGradGuard no_grad;
  const ModelConfig config = built(tiny_recipe(Family::kMamba, 2));
  const ParameterTable table = parameter_table(config);
  ParameterStore store(table, cpu_types(at::kDouble));
  store.initialize(1);
  const CausalLM model(config, store);
  DecodingState state = model.new_state(1, 4);
  const Tensor tokens = token_row({5});
  const Tensor before = model.extend(tokens, state);
  for (const Parameter& p : store.parameters()) {
    if (p.spec->name.ends_with(".a_log")) set_parameter(store, p.spec->name, p.master + 1.5);
  }
  clear(state);
  DecodingState other = model.new_state(1, 4);
  for (int i = 0; i < 2; ++i) {  // a first token does not see A: its state is zero
    const Tensor now = model.extend(tokens, state);
    EXPECT_TRUE(now.equal(model.extend(tokens, other))) << i;
    EXPECT_EQ(now.equal(before), i == 0);
  }
}

// Bytes that the state's own tensors take, after a single token has been decoded.
TEST(StateBytes, AreThoseOfTheTensors) {
  const at::NoGradGuard no_grad;
  const ModelConfig config = built(mixed());
  const ParameterTable table = parameter_table(config);
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    ParameterStore store(table, {at::kFloat, compute, at::kCPU}, Gradients::kNone);
    for (const Parameter& p : store.parameters()) p.compute.zero_();
    const CausalLM model(config, store);
    DecodingState state = model.new_state(2, kLength);
    model.extend(token_row({5, 6}).reshape({2, 1}), state);
    double attention = 0, scan = 0, shared = 0;
    for (const LayerState& layer : state.layers) {
      if (const auto* keys = std::get_if<AttentionState>(&layer)) {
        attention += static_cast<double>(keys->k.nbytes() + keys->v.nbytes());
      } else {
        const auto& kept = std::get<ScanState>(layer);
        scan += static_cast<double>(kept.window.nbytes() + kept.h.nbytes());
        if (kept.a.defined()) shared += static_cast<double>(kept.a.nbytes());
      }
    }
    const StateBytes row =
        state_bytes(config, kLength, static_cast<int>(c10::elementSize(compute)));
    EXPECT_EQ(2 * row.keys_and_values, attention);
    EXPECT_EQ(2 * row.scan, scan);
    EXPECT_EQ(row.shared, shared);
    EXPECT_GT(shared, 0);
  }
}

TEST(DecodingCases, HaveEveryKindOfLayer) {
  const auto count = [](const ModelConfig& config, auto matches) {
    int64_t n = 0;
    for (const LayerConfig& layer : config.layers) n += matches(layer) ? 1 : 0;
    return n;
  };
  const auto window = [](const LayerConfig& layer) {
    const auto* attention = std::get_if<AttentionConfig>(&layer.mixer);
    return attention == nullptr ? -1 : attention->sliding_window;
  };
  const ModelConfig config = built(mixed());
  EXPECT_EQ(count(config, [&](const LayerConfig& l) { return window(l) == 0; }), 2);
  EXPECT_EQ(count(config, [&](const LayerConfig& l) { return window(l) == 3; }), 2);
  const auto holds = [](auto part) {
    return [](const LayerConfig& l) { return std::holds_alternative<decltype(part)>(l.mixer); };
  };
  EXPECT_EQ(count(config, holds(MambaConfig{})), 2);
  EXPECT_EQ(count(config, holds(Mamba2Config{})), 2);
  const auto follows = [](auto part) {
    return
        [](const LayerConfig& l) { return std::holds_alternative<decltype(part)>(l.feed_forward); };
  };
  EXPECT_EQ(count(config, follows(MlpConfig{})), 3);
  EXPECT_EQ(count(config, follows(MoeConfig{})), 3);
  EXPECT_EQ(count(config, follows(std::monostate{})), 2);
  EXPECT_EQ(count(built(by_periods()), [&](const LayerConfig& l) { return window(l) == 4; }), 3);
}

}  // namespace
}  // namespace weft
