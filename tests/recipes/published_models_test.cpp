// The recipes of configs/models build the published models: parameters and FLOPs to the last one
// (spec/models.md 11, 15), and the numbers that no count shows (spec/models.md 19).
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "models/flops.h"
#include "recipes/load.h"

namespace weft {
namespace {

const fs::path kModels = WEFT_SOURCE_DIR "/configs/models";

Recipe recipe_of(const std::string& name) {
  auto loaded = load_recipe(kModels / (name + ".yaml"), {}, Purpose::kValidate);
  WEFT_CHECK(loaded.ok(), loaded.status());
  return std::move(loaded->recipe);
}

struct Counts {
  const char* name;
  int64_t total;
  int64_t active = total;  // parameters that a token uses
};

constexpr Counts kCounts[] = {
    {"gpt2", 124'439'808},
    {"gpt2-medium", 354'823'168},
    {"gpt2-large", 774'030'080},
    {"gpt2-xl", 1'557'611'200},
    {"hybrid-small", 30'136'648, 20'404'552},
    {"jamba-v0.1", 51'570'323'328, 12'110'311'296},
    {"jamba-1.5-mini", 51'570'323'328, 12'110'311'296},
    {"jamba-1.5-large", 398'555'145'696, 94'149'338'592},
    // Two of eight experts of 3 * 512 * 2048 in each of eight layers are active.
    {"jamba-tiny-dev", 318'688'640, 318'688'640 - 8 * 6 * 3 * 512 * 2048},
    {"llama-small", 22'684'672},
    {"llama-2-7b", 6'738'415'616},
    {"llama-2-13b", 13'015'864'320},
    {"llama-2-70b", 68'976'648'192},
    {"llama-3-8b", 8'030'261'248},
    {"llama-3-70b", 70'553'706'496},
    {"llama-3.1-8b", 8'030'261'248},
    {"llama-3.1-70b", 70'553'706'496},
    {"llama-3.1-405b", 405'853'388'800},
    {"llama-3.2-1b", 1'235'814'400},
    {"llama-3.2-3b", 3'212'749'824},
    {"mamba-130m", 129'135'360},
    {"mamba-370m", 371'516'416},
    {"mamba-790m", 793'204'224},
    {"mamba-1.4b", 1'372'178'432},
    {"mamba-2.8b", 2'768'345'600},
    {"mamba2-130m", 128'989'632},
    {"mamba2-370m", 368'346'624},
    {"mamba2-780m", 780'161'280},
    {"mamba2-1.3b", 1'343'757'312},
    {"mamba2-2.7b", 2'702'599'680},
    {"mamba-codestral-7b", 7'285'403'648},
    {"mixtral-8x7b", 46'702'792'704, 12'879'925'248},
    {"mixtral-8x22b", 140'620'634'112, 39'152'031'744},
    {"openelm-270m", 271'527'168},
    {"openelm-450m", 457'179'136},
    {"openelm-1.1b", 1'079'891'456},
    {"openelm-3b", 3'036'647'424},
    {"smollm-135m", 134'515'008},
    {"smollm-360m", 361'821'120},
    {"smollm-1.7b", 1'711'376'384},
    {"tinyllama-1.1b", 1'100'048'384},
};

TEST(PublishedModels, EveryRecipeHasThePublishedParameters) {
  for (const Counts& counts : kCounts) {
    SCOPED_TRACE(counts.name);
    const Recipe recipe = recipe_of(counts.name);
    const ParameterTable table = parameter_table(build_config(recipe.model));
    EXPECT_EQ(table.numel(), counts.total);
    EXPECT_EQ(table.active_numel(), counts.active);
    EXPECT_EQ(recipe.name, counts.name);
  }
}

TEST(PublishedModels, EveryRecipeIsInTheTable) {
  std::set<std::string> shipped, counted;
  for (const auto& entry : fs::directory_iterator(kModels)) {
    if (entry.path().extension() == ".yaml") shipped.insert(entry.path().stem());
  }
  for (const Counts& counts : kCounts) counted.insert(counts.name);
  EXPECT_EQ(shipped, counted);
}

struct Flops {
  const char* name;
  double at_1024, at_4096, at_262144;  // forward, per token of a sequence of this length
};

constexpr Flops kFlops[] = {
    {"gpt2", 265'956'864, 322'579'968, 5'078'920'704},
    {"llama-2-7b", 13'482'852'352, 14'288'158'720, 81'933'893'632},
    {"llama-3-8b", 15'278'014'464, 16'083'320'832, 83'729'055'744},
    {"tinyllama-1.1b", 2'161'205'248, 2'438'029'312, 25'691'250'688},
    {"mixtral-8x7b", 25'765'871'616, 26'571'177'984, 94'216'912'896},
    {"jamba-v0.1", 23'741'792'256, 23'842'455'552, 32'298'172'416},
    {"jamba-1.5-large", 187'486'142'464, 187'939'127'296, 225'989'853'184},
    {"openelm-270m", 576'028'160, 675'118'592, 8'998'714'880},
    {"openelm-1.1b", 2'248'233'472, 2'514'047'488, 24'842'424'832},
    {"openelm-3b", 6'244'962'304, 6'760'861'696, 50'096'410'624},
    {"mamba-130m", 262'250'496, 262'250'496, 262'250'496},
    {"mamba-2.8b", 5'572'075'520, 5'572'075'520, 5'572'075'520},
    {"mamba2-2.7b", 5'744'214'016, 5'744'214'016, 5'744'214'016},
};

TEST(PublishedModels, TakeTheSpecsFlops) {
  for (const Flops& flops : kFlops) {
    SCOPED_TRACE(flops.name);
    const ModelConfig config = build_config(recipe_of(flops.name).model);
    EXPECT_EQ(forward_flops_per_token(config, 1024), flops.at_1024);
    EXPECT_EQ(forward_flops_per_token(config, 4096), flops.at_4096);
    EXPECT_EQ(forward_flops_per_token(config, 262144), flops.at_262144);
  }
}

// The last attention layer of a recipe's model.
AttentionConfig attention_of(const std::string& name) {
  const ModelConfig config = build_config(recipe_of(name).model);
  const auto layer = std::find_if(
      config.layers.rbegin(), config.layers.rend(),
      [](const LayerConfig& l) { return std::holds_alternative<AttentionConfig>(l.mixer); });
  WEFT_CHECK(layer != config.layers.rend(), name, " has no attention");
  return std::get<AttentionConfig>(layer->mixer);
}

TEST(PublishedModels, RotateAsTheyWereTrained) {
  const struct {
    const char* name;
    RopeType type;
    double theta, factor;
  } cases[] = {{"gpt2", RopeType::kNone, 1e4, 1},
               {"jamba-v0.1", RopeType::kNone, 1e4, 1},
               {"openelm-3b", RopeType::kDefault, 1e4, 1},
               {"smollm-135m", RopeType::kDefault, 1e4, 1},
               {"llama-2-7b", RopeType::kDefault, 1e4, 1},
               {"tinyllama-1.1b", RopeType::kDefault, 1e4, 1},
               {"llama-3-8b", RopeType::kDefault, 5e5, 1},
               {"llama-3-70b", RopeType::kDefault, 5e5, 1},
               {"llama-3.1-8b", RopeType::kLlama3, 5e5, 8},
               {"llama-3.1-70b", RopeType::kLlama3, 5e5, 8},
               {"llama-3.1-405b", RopeType::kLlama3, 5e5, 8},
               {"llama-3.2-1b", RopeType::kLlama3, 5e5, 32},
               {"llama-3.2-3b", RopeType::kLlama3, 5e5, 32},
               {"mixtral-8x7b", RopeType::kDefault, 1e6, 1},
               {"mixtral-8x22b", RopeType::kDefault, 1e6, 1}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const RopeConfig rope = attention_of(c.name).rope;
    EXPECT_EQ(rope.type, c.type);
    EXPECT_EQ(rope.theta, c.theta);
    EXPECT_EQ(rope.factor, c.factor);
    if (c.type != RopeType::kLlama3) continue;
    EXPECT_EQ(rope.original_max_position, 8192);
    EXPECT_EQ(rope.low_freq_factor, 1);
    EXPECT_EQ(rope.high_freq_factor, 4);
  }
}

TEST(PublishedModels, NormaliseAndBalanceAsTheyWereTrained) {
  const struct {
    const char* name;
    NormConfig norm;
    double aux_coef;
  } cases[] = {{"gpt2-xl", {NormType::kLayer, 1e-5}, 0},
               {"llama-2-7b", {NormType::kRms, 1e-5}, 0},
               {"smollm-1.7b", {NormType::kRms, 1e-5}, 0},
               {"openelm-450m", {NormType::kRms, 1e-6}, 0},
               {"mamba-1.4b", {NormType::kRms, 1e-5}, 0},
               {"mamba-codestral-7b", {NormType::kRms, 1e-5}, 0},
               {"jamba-1.5-mini", {NormType::kRms, 1e-6}, 1e-3},
               {"jamba-tiny-dev", {NormType::kRms, 1e-6}, 1e-3},
               {"mixtral-8x7b", {NormType::kRms, 1e-5}, 0.02}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const ModelConfig config = build_config(recipe_of(c.name).model);
    EXPECT_EQ(config.norm, c.norm);
    const auto* moe = std::get_if<MoeConfig>(&config.layers.back().feed_forward);
    ASSERT_EQ(moe != nullptr, c.aux_coef > 0);
    if (moe == nullptr) continue;
    EXPECT_EQ(moe->aux_coef, c.aux_coef);
    EXPECT_EQ(moe->aux_form, AuxForm::kHf);
  }
}

}  // namespace
}  // namespace weft
