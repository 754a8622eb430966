// Parameter counts and FLOPs of published models (spec/models.md 15), and what a family makes of
// its numbers.
#include "models/families.h"

#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "models/flops.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

ModelRecipe jamba(int64_t d, int64_t f, int64_t layers, int64_t heads, int64_t kv_heads,
                  int64_t experts, int64_t vocab) {
  ModelRecipe recipe;
  recipe.family = Family::kJamba;
  recipe.hidden_size = d;
  recipe.intermediate_size = f;
  recipe.num_layers = layers;
  recipe.num_heads = heads;
  recipe.num_kv_heads = kv_heads;
  recipe.moe.num_experts = experts;
  recipe.vocab_size = vocab;
  resolve(recipe);
  return recipe;
}

ModelRecipe llama(int64_t d, int64_t f, int64_t layers, int64_t heads, int64_t kv_heads,
                  int64_t vocab, bool tied) {
  ModelRecipe recipe;
  recipe.family = Family::kLlama;
  recipe.hidden_size = d;
  recipe.intermediate_size = f;
  recipe.num_layers = layers;
  recipe.num_heads = heads;
  recipe.num_kv_heads = kv_heads;
  recipe.vocab_size = vocab;
  recipe.tie_embeddings = tied;
  resolve(recipe);
  return recipe;
}

int64_t total(const ModelRecipe& recipe) { return parameter_table(build_config(recipe)).numel(); }
int64_t active(const ModelRecipe& recipe) {
  return parameter_table(build_config(recipe)).active_numel();
}

TEST(ParameterCount, EqualsPublishedJambas) {
  const ModelRecipe v01 = jamba(4096, 14336, 32, 32, 8, 16, 65536);
  EXPECT_EQ(total(v01), 51'570'323'328);
  EXPECT_EQ(active(v01), 12'110'311'296);
  const ModelRecipe large = jamba(8192, 24576, 72, 64, 8, 16, 65536);
  EXPECT_EQ(total(large), 398'555'145'696);
  EXPECT_EQ(active(large), 94'149'338'592);
  EXPECT_EQ(total(jamba(512, 2048, 16, 8, 2, 8, 65536)), 318'688'640);
}

TEST(ParameterCount, EqualsPublishedLlamas) {
  EXPECT_EQ(total(llama(4096, 11008, 32, 32, 32, 32000, false)), 6'738'415'616);
  EXPECT_EQ(total(llama(8192, 28672, 80, 64, 8, 128256, false)), 70'553'706'496);
  EXPECT_EQ(total(llama(16384, 53248, 126, 128, 8, 128256, false)), 405'853'388'800);
  EXPECT_EQ(total(llama(2048, 8192, 16, 32, 8, 128256, true)), 1'235'814'400);
  EXPECT_EQ(total(llama(2048, 5632, 22, 32, 4, 32000, false)), 1'100'048'384);
  EXPECT_EQ(total(llama(576, 1536, 30, 9, 3, 49152, true)), 134'515'008);
}

TEST(ParameterCount, EqualsTheMemoryModelsSmallHybrid) {          // spec/parallel.md 17.5, config A
  const ModelRecipe recipe = jamba(256, 1024, 8, 8, 2, 4, 1024);  // its 1000 rows, padded
  EXPECT_EQ(total(recipe), 6'906'960 + 12'582'912);
}

TEST(Flops, EqualTheSpecsIntegers) {
  const ModelConfig jamba_config = build_config(jamba(4096, 14336, 32, 32, 8, 16, 65536));
  EXPECT_EQ(forward_flops_per_token(jamba_config, 1024), 23'741'792'256.0);
  EXPECT_EQ(forward_flops_per_token(jamba_config, 4096), 23'842'455'552.0);
  EXPECT_EQ(forward_flops_per_token(jamba_config, 262144), 32'298'172'416.0);
  const ModelConfig large = build_config(jamba(8192, 24576, 72, 64, 8, 16, 65536));
  EXPECT_EQ(forward_flops_per_token(large, 4096), 187'939'127'296.0);
  const ModelConfig llama2 = build_config(llama(4096, 11008, 32, 32, 32, 32000, false));
  EXPECT_EQ(forward_flops_per_token(llama2, 1024), 13'482'852'352.0);
  EXPECT_EQ(forward_flops_per_token(llama2, 262144), 81'933'893'632.0);
  const ModelConfig tiny = build_config(llama(2048, 5632, 22, 32, 4, 32000, false));
  EXPECT_EQ(forward_flops_per_token(tiny, 4096), 2'438'029'312.0);
}

TEST(Families, JambaPutsAttentionAndExpertsWhereThePeriodsSay) {
  const ModelConfig config = build_config(jamba(64, 128, 16, 1, 1, 4, 257));
  for (int64_t i = 0; i < 16; ++i) {
    EXPECT_EQ(std::holds_alternative<AttentionConfig>(config.layers[i].mixer), i % 8 == 4) << i;
    EXPECT_EQ(std::holds_alternative<MoeConfig>(config.layers[i].feed_forward), i % 2 == 1) << i;
  }
  EXPECT_EQ(std::get<AttentionConfig>(config.layers[4].mixer).rope.type, RopeType::kNone);
  EXPECT_TRUE(std::get<MambaConfig>(config.layers[0].mixer).inner_norms);
}

// Sliding windows of a model's layers; -1: no attention.
std::vector<int64_t> windows_of(const ModelConfig& config) {
  std::vector<int64_t> windows;
  for (const LayerConfig& layer : config.layers) {
    const auto* attention = std::get_if<AttentionConfig>(&layer.mixer);
    windows.push_back(attention == nullptr ? -1 : attention->sliding_window);
  }
  return windows;
}

ModelRecipe windowed_hybrid() {
  ModelRecipe recipe;
  recipe.family = Family::kHybrid;
  recipe.hidden_size = 64;
  recipe.num_layers = 8;
  recipe.vocab_size = 257;
  recipe.attention.sliding_window = 16;
  return recipe;
}

TEST(Families, AHybridHasWindowsWhereTheirPeriodSays) {
  ModelRecipe recipe = windowed_hybrid();
  recipe.layout.attention_period = 4;  // its offset: 2
  recipe.layout.window_period = 2;     // its offset: 1
  EXPECT_EQ(windows_of(built(recipe)), (std::vector<int64_t>{-1, 16, 0, 16, -1, 16, 0, 16}));
  ModelRecipe pattern = windowed_hybrid();
  pattern.layout.pattern = "MWAW";
  EXPECT_EQ(built(recipe), built(pattern));
  resolve(recipe);
  EXPECT_EQ(build_config(explicit_recipe(recipe)), build_config(recipe));
}

TEST(Families, AttentionByItsPeriodGoesBeforeTheWindow) {
  ModelRecipe recipe = windowed_hybrid();
  recipe.layout.attention_period = 4;
  recipe.layout.attention_offset = 3;
  recipe.layout.window_period = 1;
  EXPECT_EQ(windows_of(built(recipe)), (std::vector<int64_t>{16, 16, 16, 0, 16, 16, 16, 0}));
  recipe.layout.window_period = 4;
  recipe.layout.window_offset = 0;
  recipe.layout.mixer = MixerKind::kAttention;
  EXPECT_EQ(windows_of(built(recipe)), (std::vector<int64_t>{16, 0, 0, 0, 16, 0, 0, 0}));
}

TEST(Families, WrittenOutLayersBuildTheSameParameters) {
  const ModelRecipe family = jamba(64, 128, 16, 2, 1, 4, 257);
  const ModelRecipe list = explicit_recipe(family);
  EXPECT_EQ(list.family, Family::kLayers);
  const ParameterTable a = parameter_table(build_config(family));
  const ParameterTable b = parameter_table(build_config(list));
  ASSERT_EQ(a.rows().size(), b.rows().size());
  for (size_t i = 0; i < a.rows().size(); ++i) {
    EXPECT_EQ(a.rows()[i].name, b.rows()[i].name);
    EXPECT_EQ(a.rows()[i].shape, b.rows()[i].shape);
  }
}

TEST(Families, ProblemsNameTheKeyToChange) {
  ModelRecipe recipe = jamba(64, 128, 4, 6, 4, 4, 257);
  recipe.moe.top_k = 9;
  recipe.layout.attention_offset = 8;
  Problems problems;
  validate(recipe, problems);
  EXPECT_EQ(problems.text(),
            "num_heads: is 6, must divide hidden_size (64) unless head_dim is given\n"
            "num_kv_heads: is 4, must divide num_heads (6)\n"
            "moe.top_k: is 9, must be at most num_experts (4)\n"
            "layout.attention_offset: is 8, must be below attention_period (8)");
}

}  // namespace
}  // namespace weft
