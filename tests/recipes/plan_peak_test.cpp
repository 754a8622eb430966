// What plan_memory says against what forward and backward allocate.
#include <cstdint>

#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "recipes/load.h"
#include "recipes/plan.h"
#include "tests/recipes/broken_recipes.h"
#include "tests/support/peak.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

constexpr int64_t kTokens = 2048;

// Two layers for one sequence, on one thread.
Recipe recipe_of(Family family, const MemoryConfig& memory) {
  auto recipe = parse_recipe(kGoodRecipe, "good");
  WEFT_CHECK(recipe.ok(), recipe.status());
  ModelRecipe model = tiny_recipe(family, 2);
  model.hidden_size = 128;
  model.vocab_size = 2000;
  model.max_position = kTokens;
  resolve(model);
  recipe->model = model;
  recipe->memory = memory;
  recipe->threads = 1;
  recipe->stages[0].sequence_length = kTokens;
  recipe->stages[0].micro_batch_tokens = kTokens;
  return *std::move(recipe);
}

// Most bytes at once beyond those of the store.
int64_t peak_of_a_step(const Recipe& recipe, at::ScalarType type) {
  const TinyModel tiny(recipe.model, {at::kFloat, type, at::kCPU});
  const CausalLM model(tiny->config(), tiny.store(), recipe.memory);
  const auto peak = [&](int64_t length) {
    const Tensor tokens =
        at::arange(length, at::kLong).remainder(*recipe.model.vocab_size).unsqueeze(0);
    const Documents documents = Documents::whole_rows(1, length, at::kCPU);
    return peak_bytes([&] { model.loss(tokens, tokens, documents).loss.backward(); });
  };
  peak(64);  // what is made once
  return peak(kTokens);
}

class PlanOfFamily : public testing::TestWithParam<Family> {};

// Rather more than less: an allocator keeps pieces that nobody takes.
TEST_P(PlanOfFamily, IsThePeakOfAStep) {
  const MiniSequences whole(MiniSequenceRule::kNone), slices(MiniSequenceRows{512, 256});
  constexpr double kProgram = 250e6;
  for (const MemoryConfig& memory : {MemoryConfig{whole},
                                     {whole, Recompute::kBlock},
                                     {slices, Recompute::kSelective},
                                     {slices, Recompute::kBlock}}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const Recipe recipe = recipe_of(GetParam(), memory);
      const MemoryPlan plan = plan_memory(recipe, static_cast<int>(c10::elementSize(type)));
      const double planned = static_cast<double>(plan.activations + plan.working) - kProgram;
      const double share = planned / static_cast<double>(peak_of_a_step(recipe, type));
      EXPECT_GE(share, 0.95) << at::toString(type) << ", " << name_of(memory.recompute);
      EXPECT_LE(share, 1.35) << at::toString(type) << ", " << name_of(memory.recompute);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, PlanOfFamily,
                         testing::Values(Family::kJamba, Family::kMamba, Family::kMamba2,
                                         Family::kLlama, Family::kGpt2, Family::kMixtral),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace weft
