// Layer-wise scaling (spec/models.md 11): the published OpenELMs layer by layer, the roundings that
// decide them, and other families scaled the same way.
#include "models/layerwise.h"

#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "models/families.h"

namespace weft {
namespace {

using Widths = std::vector<int64_t>;

ModelRecipe small(Family family, int64_t num_layers) {
  ModelRecipe recipe;
  recipe.family = family;
  recipe.vocab_size = 257;
  recipe.hidden_size = 1024;
  recipe.num_layers = num_layers;
  return recipe;
}

ModelConfig built(ModelRecipe recipe) {
  resolve(recipe);
  Problems problems;
  validate(recipe, problems);
  EXPECT_EQ(problems.text(), "");
  return build_config(recipe);
}

// Query heads of each layer; 0: the layer has no attention.
Widths heads_of(const ModelConfig& config) {
  Widths heads;
  for (const LayerConfig& layer : config.layers) {
    const auto* attention = std::get_if<AttentionConfig>(&layer.mixer);
    heads.push_back(attention == nullptr ? 0 : attention->num_heads);
  }
  return heads;
}

// Hidden width of each layer's MLP or expert.
Widths ffn_of(const ModelConfig& config) {
  Widths widths;
  for (const LayerConfig& layer : config.layers) {
    const auto* moe = std::get_if<MoeConfig>(&layer.feed_forward);
    widths.push_back(moe != nullptr ? moe->intermediate_size
                                    : std::get<MlpConfig>(layer.feed_forward).intermediate_size);
  }
  return widths;
}

struct PublishedOpenElm {
  int64_t num_layers, hidden_size, head_dim;
  std::vector<std::pair<int64_t, int64_t>> heads;  // query heads, layers in a row that have them
  Widths ffn;
  int64_t parameters;         // with 32000 rows of vocabulary
  int64_t padded_parameters;  // with 32128
};

const PublishedOpenElm kPublished[] = {
    {16,
     1280,
     64,
     {{12, 5}, {16, 7}, {20, 4}},
     {768, 1024, 1280, 1536, 1792, 2048, 2560, 2816, 3072, 3328, 3584, 3840, 4352, 4608, 4864,
      5120},
     271'527'168,
     271'691'008},
    {20,
     1536,
     64,
     {{12, 3}, {16, 7}, {20, 6}, {24, 4}},
     {768,  1024, 1280, 1536, 1792, 2304, 2560, 2816, 3072, 3328,
      3584, 3840, 4096, 4352, 4608, 5120, 5376, 5632, 5888, 6144},
     457'179'136,
     457'375'744},
    {28,
     2048,
     64,
     {{16, 3}, {20, 7}, {24, 8}, {28, 6}, {32, 4}},
     {1024, 1280, 1536, 1792, 2048, 2304, 2560, 2816, 3072, 3328, 3584, 3840, 4096, 4608,
      4608, 5120, 5376, 5632, 5888, 6144, 6400, 6656, 6912, 7168, 7424, 7680, 7936, 8192},
     1'079'891'456,
     1'080'153'600},
    {36,
     3072,
     128,
     {{12, 4}, {16, 14}, {20, 12}, {24, 6}},
     {1536, 1792, 2048, 2560, 2816,  3072,  3328,  3584,  4096,  4352,  4608,  4864,
      5120, 5632, 5888, 6144, 6400,  6656,  7168,  7424,  7680,  7936,  8192,  8704,
      8960, 9216, 9472, 9728, 10240, 10496, 10752, 11008, 11264, 11776, 12032, 12288},
     3'036'647'424,
     3'037'040'640},
};

TEST(LayerwiseScaling, BuildsThePublishedOpenElms) {
  for (const PublishedOpenElm& published : kPublished) {
    SCOPED_TRACE(published.parameters);
    ModelRecipe recipe = small(Family::kOpenElm, published.num_layers);
    recipe.hidden_size = published.hidden_size;
    recipe.head_dim = published.head_dim;
    recipe.vocab_size = 32000;
    const ModelConfig config = built(recipe);
    Widths heads;
    for (const auto& [count, layers] : published.heads) heads.insert(heads.end(), layers, count);
    EXPECT_EQ(heads_of(config), heads);
    EXPECT_EQ(ffn_of(config), published.ffn);
    for (const LayerConfig& layer : config.layers) {
      const auto& attention = std::get<AttentionConfig>(layer.mixer);
      EXPECT_EQ(attention.num_kv_heads, attention.num_heads / 4);
      EXPECT_EQ(attention.head_dim, published.head_dim);
    }
    EXPECT_EQ(parameter_table(config).numel(), published.parameters);
    recipe.vocab_size = 32128;
    EXPECT_EQ(parameter_table(built(recipe)).numel(), published.padded_parameters);
  }
}

TEST(MakeDivisible, RoundsToTheNearestMultiple) {
  EXPECT_EQ(make_divisible(1024, 256), 1024);
  EXPECT_EQ(make_divisible(2175.9, 256), 2048);
  EXPECT_EQ(make_divisible(2176, 256), 2304);  // half way: up
  EXPECT_EQ(make_divisible(7, 1), 7);
}

TEST(MakeDivisible, IsAtLeastTheDivisor) {
  EXPECT_EQ(make_divisible(0, 256), 256);
  EXPECT_EQ(make_divisible(1, 256), 256);
  EXPECT_EQ(make_divisible(127.9, 256), 256);
}

TEST(MakeDivisible, LosesAtMostATenth) {
  EXPECT_EQ(make_divisible(280, 256), 256);  // 256 > 0.9 * 280 = 252
  EXPECT_EQ(make_divisible(284, 256), 256);  // 255.6
  EXPECT_EQ(make_divisible(285, 256), 512);  // 256 < 256.5, though 512 is farther
  EXPECT_EQ(make_divisible(383, 256), 512);
}

// Exactly a tenth is not too much: 9 of 10, where 0.9 * 10 is 9 in doubles.
TEST(MakeDivisible, KeepsExactlyNineTenths) {
  ASSERT_EQ(0.9 * 10.0, 9.0);
  EXPECT_EQ(make_divisible(10, 9), 9);
}

// The value with half a divisor added is cut to an integer before the division, which shows with
// odd divisors alone: 4.9 + 2.5 = 7.4.
TEST(MakeDivisible, TakesOddDivisors) {
  EXPECT_EQ(make_divisible(4.9, 5), 5);
  EXPECT_EQ(make_divisible(7.4, 5), 10);  // 5 is under 0.9 * 7.4
  EXPECT_EQ(make_divisible(32.4, 5), 30);
  EXPECT_EQ(make_divisible(32.5, 5), 35);
}

// The multipliers of the spec for OpenELM 270M.
TEST(LayerwiseValue, LiesOnTheLineRoundedToTwoDecimals) {
  const std::vector<double> alpha{.5,  .53, .57, .6,  .63, .67, .7,  .73,
                                  .77, .8,  .83, .87, .9,  .93, .97, 1};
  const std::vector<double> beta{.5,   .73, .97,  1.2,  1.43, 1.67, 1.9,  2.13,
                                 2.37, 2.6, 2.83, 3.07, 3.3,  3.53, 3.77, 4};
  for (int64_t i = 0; i < 16; ++i) {
    EXPECT_EQ(layerwise_value({0.5, 1.0}, i, 16), alpha[i]) << i;
    EXPECT_EQ(layerwise_value({0.5, 4.0}, i, 16), beta[i]) << i;
  }
}

TEST(LayerwiseValue, RoundsTiesToEven) {
  EXPECT_EQ(layerwise_value({0.0, 0.25}, 1, 3), 0.12);  // 12.5 of a hundred, exact in doubles
  EXPECT_EQ(layerwise_value({0.0, 0.75}, 1, 3), 0.38);  // 37.5
}

TEST(LayerwiseValue, CanFall) {
  EXPECT_EQ(layerwise_value({4.0, 1.0}, 0, 4), 4.0);
  EXPECT_EQ(layerwise_value({4.0, 1.0}, 1, 4), 3.0);
  EXPECT_EQ(layerwise_value({4.0, 1.0}, 3, 4), 1.0);
}

TEST(LayerwiseValue, OneValueHoldsEverywhereUnrounded) {
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(layerwise_value({0.12345}, i, 5), 0.12345) << i;
}

TEST(LayerwiseValue, AListIsTakenAsItIs) {
  const std::vector<double> list{0.5, 2.0, 0.33333};
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(layerwise_value(list, i, 3), list[i]) << i;
}

TEST(LayerwiseValue, TwoValuesOfTwoLayersAreTheEnds) {
  EXPECT_EQ(layerwise_value({0.5, 4.0}, 0, 2), 0.5);
  EXPECT_EQ(layerwise_value({0.5, 4.0}, 1, 2), 4.0);
}

TEST(LayerwiseValue, ASingleLayerHasTheFirst) {
  EXPECT_EQ(layerwise_value({0.5, 4.0}, 0, 1), 0.5);
  EXPECT_EQ(layerwise_value({3.0}, 0, 1), 3.0);
}

TEST(LayerwiseValueDeathTest, RefusesAListOfAnotherLength) {
  EXPECT_DEATH(layerwise_value({1, 2, 3}, 0, 4), "3 values for 4 layers");
}

// Published files give the expanded list instead of the ends: the same model.
TEST(LayerwiseScaling, ExpandedListsBuildTheSameOpenElm) {
  ModelRecipe ends = small(Family::kOpenElm, 16), expanded = ends;
  for (int64_t i = 0; i < 16; ++i) {
    expanded.layerwise.qkv.push_back(layerwise_value({0.5, 1.0}, i, 16));
    expanded.layerwise.ffn.push_back(layerwise_value({0.5, 4.0}, i, 16));
  }
  EXPECT_EQ(built(ends), built(expanded));
}

TEST(LayerwiseScaling, OneValueMakesAllLayersEqual) {
  ModelRecipe recipe = small(Family::kOpenElm, 3);
  recipe.layerwise.qkv = {0.5};
  recipe.layerwise.ffn = {2.0};
  const ModelConfig config = built(recipe);
  EXPECT_EQ(heads_of(config), (Widths{8, 8, 8}));
  EXPECT_EQ(ffn_of(config), (Widths{2048, 2048, 2048}));
}

TEST(LayerwiseScaling, ASingleLayerHasTheFirstWidths) {
  const ModelConfig config = built(small(Family::kOpenElm, 1));
  EXPECT_EQ(heads_of(config), Widths{8});
  EXPECT_EQ(ffn_of(config), Widths{512});
}

// 16 query heads of 64 and 4 of keys: groups of 4. Multipliers 0.25, 0.5, 0.75, 1.
TEST(LayerwiseScaling, ScalesALlama) {
  ModelRecipe recipe = small(Family::kLlama, 4);
  recipe.num_heads = 16;
  recipe.num_kv_heads = 4;
  recipe.layerwise.qkv = {0.25, 1.0};
  recipe.layerwise.ffn = {1.0, 4.0};
  const ModelConfig config = built(recipe);
  EXPECT_EQ(heads_of(config), (Widths{4, 8, 12, 16}));
  EXPECT_EQ(ffn_of(config), (Widths{1024, 2048, 3072, 4096}));
  int64_t expected = 2 * 257 * 1024 + 1024;  // embedding, head, final norm
  for (int64_t i = 1; i <= 4; ++i) {
    const auto& attention = std::get<AttentionConfig>(config.layers[i - 1].mixer);
    EXPECT_EQ(attention.num_kv_heads, i);
    EXPECT_FALSE(attention.qk_norm);
    expected += 1024 * 64 * (2 * 4 * i + 2 * i) + 3 * 1024 * 1024 * i + 2 * 1024;
  }
  EXPECT_EQ(parameter_table(config).numel(), expected);
}

TEST(LayerwiseScaling, ScalesWhatIsGivenAlone) {
  ModelRecipe recipe = small(Family::kLlama, 2);
  recipe.intermediate_size = 1000;  // no multiple of anything: stays
  recipe.layerwise.qkv = {0.5, 1.0};
  EXPECT_EQ(heads_of(built(recipe)), (Widths{8, 16}));
  EXPECT_EQ(ffn_of(built(recipe)), (Widths{1000, 1000}));
  recipe.layerwise.qkv = {};
  recipe.layerwise.ffn = {0.5, 1.0};
  recipe.layerwise.ffn_divisor = 64;
  EXPECT_EQ(heads_of(built(recipe)), (Widths{16, 16}));
  EXPECT_EQ(ffn_of(built(recipe)), (Widths{512, 1024}));
}

// Attention in layers 1 and 3, experts there too. Mamba has the width of the model everywhere.
TEST(LayerwiseScaling, ScalesAJambasAttentionMlpsAndExpertsButNotItsMamba) {
  ModelRecipe recipe = small(Family::kJamba, 4);
  recipe.num_kv_heads = 8;
  recipe.layout.attention_period = 2;
  recipe.layerwise.qkv = {0.25, 1.0};
  recipe.layerwise.ffn = {1.0, 4.0};
  const ModelConfig config = built(recipe);
  EXPECT_EQ(heads_of(config), (Widths{0, 8, 0, 16}));
  EXPECT_EQ(ffn_of(config), (Widths{1024, 2048, 3072, 4096}));
  EXPECT_EQ(std::get<AttentionConfig>(config.layers[1].mixer).num_kv_heads, 4);
  EXPECT_EQ(std::get<MoeConfig>(config.layers[3].feed_forward).intermediate_size, 4096);
  recipe.layerwise = {};
  const ModelConfig plain = built(recipe);
  for (const int64_t i : {0, 2}) EXPECT_EQ(config.layers[i].mixer, plain.layers[i].mixer) << i;
}

TEST(LayerwiseScaling, AListOfAnotherLengthNamesItsKey) {
  ModelRecipe recipe = small(Family::kLlama, 4);
  recipe.layerwise.ffn = {1, 2, 3};
  resolve(recipe);
  Problems problems;
  validate(recipe, problems);
  EXPECT_EQ(problems.text(), "layerwise.ffn: has 3 values, must have 1, 2 or num_layers (4)");
}

}  // namespace
}  // namespace weft
