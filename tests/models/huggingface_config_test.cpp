// config.json of Hugging Face checkpoints: what each family's members mean, what is refused, what
// is written.
#include <cmath>
#include <functional>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/families.h"
#include "models/huggingface/config.h"
#include "tests/support/process.h"

namespace weft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kFamilies[] = {"gpt2",   "jamba",   "llama",  "mamba",
                                     "mamba2", "mixtral", "openelm"};

Json fixture(const std::string& family) {
  return Json::parse(
      contents(fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family / "config.json"));
}

HfConfig read(const Json& json) {
  absl::StatusOr<HfConfig> config = read_hf_config(json.dump(), "config.json");
  WEFT_CHECK(config.ok(), config.status());
  return *std::move(config);
}

ModelConfig built(const Json& json) { return build_config(read(json).model); }

// The message that refuses a text, without the file's name in each line; empty if it is accepted.
std::string refusal(const std::string& text) {
  const absl::Status status = read_hf_config(text, "config.json").status();
  EXPECT_EQ(exit_status(status), status.ok() ? 0 : 2) << text;
  std::string message(status.message());
  const std::string name = "config.json: ";
  for (size_t at = 0; at < message.size();) {
    EXPECT_EQ(message.substr(at, name.size()), name);
    message.erase(at, name.size());
    const size_t end = message.find('\n', at);
    at = end == std::string::npos ? message.size() : end + 1;
  }
  return message;
}

// A family's fixture with other members.
Json changed(const std::string& family, const Json& members) {
  Json json = fixture(family);
  for (const auto& [name, value] : members.items()) json[name] = value;
  return json;
}
std::string refusal(const std::string& family, const Json& members) {
  return refusal(changed(family, members).dump());
}

// All members that have no default.
Json smallest(const std::string& family) {
  if (family == "gpt2") {
    return {
        {"model_type", family}, {"vocab_size", 10}, {"n_embd", 16}, {"n_layer", 1}, {"n_head", 2}};
  }
  if (family == "openelm") {
    return {{"model_type", family},        {"vocab_size", 10},       {"model_dim", 64},
            {"num_transformer_layers", 2}, {"qkv_multipliers", 1.0}, {"ffn_multipliers", 4.0}};
  }
  Json json = {{"model_type", family},
               {"vocab_size", 10},
               {"hidden_size", family == "mamba2" ? 4096 : 16},
               {"num_hidden_layers", 1}};
  if (family == "mamba" || family == "mamba2") return json;
  json["intermediate_size"] = 24;
  json["num_attention_heads"] = family == "llama" ? 2 : 8;
  return json;
}

const AttentionConfig& attention(const ModelConfig& config, size_t layer = 0) {
  return std::get<AttentionConfig>(config.layers.at(layer).mixer);
}

TEST(HfConfigFamilies, LlamaIsReadFromItsMembers) {
  const LayerConfig layer{
      AttentionConfig{.num_heads = 4,
                      .num_kv_heads = 1,
                      .head_dim = 4,
                      .rope = {.type = RopeType::kDefault, .original_max_position = 64}},
      MlpConfig{.intermediate_size = 24}};
  EXPECT_EQ(built(fixture("llama")), (ModelConfig{.vocab_size = 31,
                                                  .hidden_size = 16,
                                                  .norm = {NormType::kRms, 1e-5},
                                                  .layers = {layer, layer}}));
  EXPECT_EQ(*read(fixture("llama")).model.max_position, 64);
}

TEST(HfConfigFamilies, Gpt2IsReadFromItsMembers) {
  const LayerConfig layer{
      AttentionConfig{.num_heads = 3,
                      .num_kv_heads = 3,
                      .head_dim = 5,
                      .bias = true,
                      .rope = {.type = RopeType::kNone, .original_max_position = 16}},
      MlpConfig{.intermediate_size = 60,
                .gated = false,
                .activation = Activation::kGeluNew,
                .bias = true}};
  EXPECT_EQ(built(fixture("gpt2")), (ModelConfig{.vocab_size = 31,
                                                 .hidden_size = 15,
                                                 .learned_positions = 16,
                                                 .norm = {NormType::kLayer, 1e-5},
                                                 .tie_embeddings = true,
                                                 .init = {.std = 0.02, .depth_scaled = true},
                                                 .layers = {layer, layer}}));
}

TEST(HfConfigFamilies, MixtralIsReadFromItsMembers) {
  const LayerConfig layer{
      AttentionConfig{
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 4,
          .rope = {.type = RopeType::kDefault, .theta = 1e6, .original_max_position = 64}},
      MoeConfig{.num_experts = 4,
                .top_k = 2,
                .intermediate_size = 20,
                .renormalize = true,
                .aux_form = AuxForm::kHf,
                .aux_coef = 0.02}};
  EXPECT_EQ(built(fixture("mixtral")), (ModelConfig{.vocab_size = 31,
                                                    .hidden_size = 16,
                                                    .norm = {NormType::kRms, 1e-5},
                                                    .layers = {layer, layer}}));
  const Json windowed = changed("mixtral", {{"sliding_window", 7}});
  EXPECT_EQ(attention(built(windowed)).sliding_window, 7);
}

TEST(HfConfigFamilies, JambaIsReadFromItsMembers) {
  const MambaConfig mamba{
      .inner_size = 32, .state_size = 9, .conv_kernel = 4, .dt_rank = 7, .inner_norms = true};
  const MoeConfig moe{.num_experts = 3,
                      .top_k = 2,
                      .intermediate_size = 12,
                      .aux_form = AuxForm::kHf,
                      .aux_coef = 0.02};
  const AttentionConfig attention{.num_heads = 4,
                                  .num_kv_heads = 2,
                                  .head_dim = 4,
                                  .rope = {.type = RopeType::kNone, .original_max_position = 64}};
  EXPECT_EQ(built(fixture("jamba")),
            (ModelConfig{
                .vocab_size = 31,
                .hidden_size = 16,
                .padding_id = 0,
                .norm = {NormType::kRms, 1e-6},
                .layers = {
                    {mamba, moe}, {attention, MlpConfig{.intermediate_size = 12}}, {mamba, moe}}}));
}

TEST(HfConfigFamilies, MambaIsReadFromItsMembers) {
  const LayerConfig layer{
      MambaConfig{.inner_size = 32, .state_size = 5, .conv_kernel = 4, .dt_rank = 1},
      std::monostate{}};
  EXPECT_EQ(built(fixture("mamba")), (ModelConfig{.vocab_size = 31,
                                                  .hidden_size = 16,
                                                  .norm = {NormType::kRms, 1e-5},
                                                  .tie_embeddings = true,
                                                  .residual_fp32 = true,
                                                  .init = {.scheme = InitScheme::kMamba},
                                                  .layers = {layer, layer}}));
}

TEST(HfConfigFamilies, Mamba2IsReadFromItsMembers) {
  const LayerConfig layer{Mamba2Config{.num_heads = 4,
                                       .head_dim = 8,
                                       .state_size = 5,
                                       .num_groups = 2,
                                       .conv_kernel = 4,
                                       .chunk_size = 4},
                          std::monostate{}};
  EXPECT_EQ(built(fixture("mamba2")), (ModelConfig{.vocab_size = 31,
                                                   .hidden_size = 16,
                                                   .norm = {NormType::kRms, 1e-5},
                                                   .tie_embeddings = true,
                                                   .residual_fp32 = true,
                                                   .init = {.scheme = InitScheme::kMamba},
                                                   .layers = {layer, layer}}));
}

// Multipliers 0.5, 0.75, 1 and 0.5, 2.25, 4 of 16, rounded to multiples of 8.
TEST(HfConfigFamilies, OpenElmIsReadFromItsMembers) {
  const auto layer = [](int64_t heads, int64_t width) {
    return LayerConfig{
        AttentionConfig{.num_heads = heads,
                        .num_kv_heads = heads / 2,
                        .head_dim = 4,
                        .qk_norm = true,
                        .rope = {.type = RopeType::kDefault, .original_max_position = 64}},
        MlpConfig{.intermediate_size = width}};
  };
  EXPECT_EQ(built(fixture("openelm")),
            (ModelConfig{.vocab_size = 31,
                         .hidden_size = 16,
                         .norm = {NormType::kRms, 1e-6},
                         .tie_embeddings = true,
                         .init = {.scheme = InitScheme::kOpenElm},
                         .layers = {layer(2, 8), layer(4, 40), layer(4, 64)}}));
}

TEST(HfConfigDefaults, OfLlamaAreThoseOfItsClass) {
  const ModelConfig config = built(smallest("llama"));
  EXPECT_EQ(config.norm.eps, 1e-6);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(config.padding_id, -1);
  EXPECT_EQ(attention(config).num_kv_heads, 2);
  EXPECT_EQ(attention(config).head_dim, 8);
  EXPECT_FALSE(attention(config).bias);
  EXPECT_EQ(attention(config).rope.type, RopeType::kDefault);
  EXPECT_EQ(attention(config).rope.theta, 1e4);
  EXPECT_FALSE(std::get<MlpConfig>(config.layers[0].feed_forward).bias);
  EXPECT_EQ(*read(smallest("llama")).model.max_position, 2048);
}

TEST(HfConfigDefaults, OfMixtralAreThoseOfItsClass) {
  const ModelConfig config = built(smallest("mixtral"));
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_EQ(attention(config).num_kv_heads, 8);
  EXPECT_EQ(attention(config).sliding_window, 0);
  EXPECT_EQ(attention(config).rope.theta, 1e6);
  EXPECT_EQ(std::get<MoeConfig>(config.layers[0].feed_forward),
            (MoeConfig{.num_experts = 8,
                       .top_k = 2,
                       .intermediate_size = 24,
                       .renormalize = true,
                       .aux_form = AuxForm::kHf}));
  EXPECT_EQ(*read(smallest("mixtral")).model.max_position, 131072);
}

TEST(HfConfigDefaults, OfJambaAreThoseOfItsClass) {
  Json json = smallest("jamba");
  json["num_hidden_layers"] = 13;
  const ModelConfig config = built(json);
  EXPECT_EQ(config.norm.eps, 1e-6);
  EXPECT_EQ(config.padding_id, 0);
  for (size_t i = 0; i < 13; ++i) {
    const LayerConfig& layer = config.layers[i];
    EXPECT_EQ(std::holds_alternative<AttentionConfig>(layer.mixer), i % 8 == 4) << i;
    EXPECT_EQ(std::holds_alternative<MoeConfig>(layer.feed_forward), i % 2 == 1) << i;
  }
  EXPECT_EQ(attention(config, 4).num_kv_heads, 8);
  EXPECT_EQ(std::get<MambaConfig>(config.layers[0].mixer), (MambaConfig{.inner_size = 32,
                                                                        .state_size = 16,
                                                                        .conv_kernel = 4,
                                                                        .dt_rank = 1,
                                                                        .inner_norms = true}));
  const MoeConfig& moe = std::get<MoeConfig>(config.layers[1].feed_forward);
  EXPECT_EQ(moe.num_experts, 16);
  EXPECT_EQ(moe.top_k, 2);
  EXPECT_EQ(moe.aux_coef, 0);
  EXPECT_EQ(*read(json).model.max_position, 262144);
  EXPECT_EQ(built(changed("jamba", {{"pad_token_id", nullptr}})).padding_id, -1);
}

TEST(HfConfigDefaults, OfGpt2AreThoseOfItsClass) {
  const ModelConfig config = built(smallest("gpt2"));
  EXPECT_EQ(config.learned_positions, 1024);
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_EQ(std::get<MlpConfig>(config.layers[0].feed_forward).intermediate_size, 64);
}

TEST(HfConfigDefaults, OfMambaAreThoseOfItsClass) {
  const ModelConfig config = built(smallest("mamba"));
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_TRUE(config.residual_fp32);
  EXPECT_EQ(std::get<MambaConfig>(config.layers[0].mixer),
            (MambaConfig{.inner_size = 32, .state_size = 16, .conv_kernel = 4, .dt_rank = 1}));
}

TEST(HfConfigDefaults, OfMamba2AreThoseOfItsClass) {
  const ModelConfig config = built(smallest("mamba2"));
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(
      std::get<Mamba2Config>(config.layers[0].mixer),
      (Mamba2Config{
          .num_heads = 128, .head_dim = 64, .state_size = 128, .num_groups = 8, .conv_kernel = 4}));
}

TEST(HfConfigDefaults, OfOpenElmAreThoseOfItsClass) {
  const ModelConfig config = built(smallest("openelm"));
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(attention(config).num_heads, 1);
  EXPECT_EQ(attention(config).num_kv_heads, 1);
  EXPECT_EQ(attention(config).head_dim, 64);
  EXPECT_FALSE(attention(config).qk_norm);
  EXPECT_EQ(attention(config).rope.theta, 1e4);
  EXPECT_EQ(std::get<MlpConfig>(config.layers[0].feed_forward).intermediate_size, 256);
  EXPECT_EQ(*read(smallest("openelm")).model.max_position, 2048);
}

// A default stands for an absent member; null means "as many as query heads" in every class.
TEST(HfConfigDefaults, KeyValueHeadsThatAreNullAreAsManyAsQueryHeads) {
  for (const char* family : {"llama", "mixtral", "jamba"}) {
    const Json json = changed(
        family,
        {{"num_key_value_heads", nullptr}, {"num_attention_heads", 16}, {"hidden_size", 64}});
    EXPECT_EQ(*read(json).model.num_kv_heads, 16) << family;
  }
}

TEST(HfConfigDefaults, RanksThatAreAutoAreASixteenthRoundedUp) {
  const Json wide = {{"hidden_size", 40}, {"intermediate_size", 80}, {"time_step_rank", "auto"}};
  EXPECT_EQ(*read(changed("mamba", wide)).model.mamba.dt_rank, 3);
  EXPECT_EQ(*read(changed("jamba", {{"mamba_dt_rank", "auto"}})).model.mamba.dt_rank, 1);
  EXPECT_EQ(refusal("mamba", {{"time_step_rank", "most"}}),
            "time_step_rank: is \"most\", must be a whole number");
}

TEST(HfConfigDefaults, TheBalanceLossIsOnOnlyWhereRouterLogitsAre) {
  const auto coefficient = [](const Json& members) {
    return read(changed("mixtral", members)).model.moe.aux_coef;
  };
  EXPECT_EQ(coefficient({{"router_aux_loss_coef", 0.5}}), 0.5);
  EXPECT_EQ(coefficient({{"router_aux_loss_coef", 0.5}, {"output_router_logits", false}}), 0);
  EXPECT_EQ(coefficient({{"router_aux_loss_coef", nullptr}}), 0.001);
}

RopeConfig rope(const Json& members) {
  Json json = fixture("llama");
  json.erase("rope_parameters");
  json.update(members);
  return attention(built(json)).rope;
}

TEST(HfConfigRope, BothSpellingsMeanTheSame) {
  const Json dictionaries[] = {
      {{"rope_type", "default"}},
      {{"rope_type", "linear"}, {"factor", 3.0}},
      {{"rope_type", "dynamic"}, {"factor", 2.5}},
      {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}},
      {{"rope_type", "llama3"},
       {"factor", 8.0},
       {"low_freq_factor", 1.0},
       {"high_freq_factor", 4.0},
       {"original_max_position_embeddings", 32}}};
  for (const Json& dictionary : dictionaries) {
    Json inside = dictionary, old = dictionary;
    inside["rope_theta"] = 500.0;
    old["type"] = old["rope_type"];
    old.erase("rope_type");
    const RopeConfig expected = rope({{"rope_parameters", inside}});
    EXPECT_EQ(expected.theta, 500.0);
    EXPECT_EQ(rope({{"rope_theta", 500.0}, {"rope_scaling", dictionary}}), expected) << dictionary;
    EXPECT_EQ(rope({{"rope_theta", 500.0}, {"rope_scaling", old}}), expected) << dictionary;
    EXPECT_EQ(rope({{"rope_theta", 500.0}, {"rope_parameters", dictionary}}), expected)
        << dictionary;
  }
  EXPECT_EQ(rope({{"rope_theta", 500.0}, {"rope_scaling", nullptr}}),
            rope({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 500.0}}}}));
}

TEST(HfConfigRope, ScaledTypesHaveTheirNumbers) {
  const RopeConfig linear = rope({{"rope_scaling", {{"rope_type", "linear"}, {"factor", 3.0}}}});
  EXPECT_EQ(linear.type, RopeType::kLinear);
  EXPECT_EQ(linear.factor, 3.0);
  const RopeConfig dynamic = rope({{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.5}}}});
  EXPECT_EQ(dynamic.type, RopeType::kDynamic);
  EXPECT_EQ(dynamic.original_max_position, 64);
  const RopeConfig llama3 = rope({{"rope_scaling",
                                   {{"rope_type", "llama3"},
                                    {"factor", 8.0},
                                    {"low_freq_factor", 1.5},
                                    {"high_freq_factor", 3.0},
                                    {"original_max_position_embeddings", 32}}}});
  EXPECT_EQ(llama3.type, RopeType::kLlama3);
  EXPECT_EQ(llama3.low_freq_factor, 1.5);
  EXPECT_EQ(llama3.high_freq_factor, 3.0);
  EXPECT_EQ(llama3.original_max_position, 32);
}

TEST(HfConfigRope, YarnScalesByItsFactorOrByMscale) {
  const auto yarn = [](const Json& more) {
    Json dictionary = {
        {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}};
    dictionary.update(more);
    return rope({{"rope_scaling", dictionary}});
  };
  const RopeConfig plain = yarn(Json::object());
  EXPECT_EQ(plain.type, RopeType::kYarn);
  EXPECT_EQ(plain.factor, 4.0);
  EXPECT_EQ(plain.original_max_position, 16);
  EXPECT_EQ(plain.beta_fast, 32);
  EXPECT_EQ(plain.beta_slow, 1);
  EXPECT_TRUE(plain.truncate);
  const double ln4 = std::log(4.0);
  EXPECT_DOUBLE_EQ(plain.attention_factor, 0.1 * ln4 + 1);
  EXPECT_DOUBLE_EQ(yarn({{"mscale", 0.7}, {"mscale_all_dim", 1.4}}).attention_factor,
                   (0.07 * ln4 + 1) / (0.14 * ln4 + 1));
  EXPECT_DOUBLE_EQ(yarn({{"mscale", 0.7}}).attention_factor, 0.1 * ln4 + 1);
  EXPECT_DOUBLE_EQ(yarn({{"mscale", 0.7}, {"mscale_all_dim", 0}}).attention_factor, 0.1 * ln4 + 1);
  EXPECT_EQ(
      yarn({{"attention_factor", 1.3}, {"mscale", 0.7}, {"mscale_all_dim", 1.4}}).attention_factor,
      1.3);
  const RopeConfig all = yarn({{"beta_fast", 6.0}, {"beta_slow", 0.5}, {"truncate", false}});
  EXPECT_EQ(all.beta_fast, 6);
  EXPECT_EQ(all.beta_slow, 0.5);
  EXPECT_FALSE(all.truncate);
  EXPECT_EQ(yarn({{"factor", nullptr}}).factor, 4.0);  // 64 / 16
}

TEST(HfConfigRope, WhatWeftDoesNotKnowIsRefusedByName) {
  const auto refused = [](const Json& dictionary) {
    return refusal("llama", {{"rope_parameters", dictionary}});
  };
  EXPECT_EQ(refused({{"rope_type", "longrope"}}),
            "rope_scaling: has type 'longrope', weft knows default, linear, dynamic, llama3 and "
            "yarn");
  EXPECT_EQ(refused({{"rope_type", "linear"}}), "rope_scaling: factor: is missing");
  EXPECT_EQ(refused({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}),
            "rope_scaling: partial_rotary_factor: is 0.5, weft computes 1.0 only");
  EXPECT_EQ(refused({{"rope_type", "default"}, {"partial_rotary_factor", 1.0}}), "");
  EXPECT_EQ(refused({{"rope_type", "default"}, {"warp", 2}}),
            "rope_scaling: warp: is 2, which weft does not know; if it changes nothing, take it "
            "out");
  EXPECT_EQ(refused(Json::array({1})), "rope_scaling: must be an object or null");
  EXPECT_EQ(refused({{"rope_type", "llama3"}, {"factor", "8"}}),
            "rope_scaling: factor: is \"8\", must be a number\n"
            "rope_scaling: low_freq_factor: is missing\n"
            "rope_scaling: high_freq_factor: is missing");
  EXPECT_EQ(refusal("llama", {{"partial_rotary_factor", 0.5}}),
            "partial_rotary_factor: is 0.5, weft computes 1.0 only");
}

TEST(HfConfigRefusals, UnknownMembersAreRefusedUnlessTheySayNothing) {
  EXPECT_EQ(refusal("llama", {{"clip_qkv", 8.0}}),
            "clip_qkv: is 8.0, which weft does not know; if it changes nothing, take it out");
  EXPECT_EQ(refusal("llama", {{"clip_qkv", 0}}),
            "clip_qkv: is 0, which weft does not know; if it changes nothing, take it out");
  EXPECT_EQ(refusal("mamba", {{"quantization_config", {{"bits", 4}}}}),
            "quantization_config: is {\"bits\":4}, which weft does not know; if it changes "
            "nothing, take it out");
  EXPECT_THAT(refusal("gpt2", {{"notes", std::string(1000, 'x')}}),
              testing::StartsWith("notes: is \"" + std::string(56, 'x') + "..., which"));
  for (const Json& value : {Json(nullptr), Json(false), Json::object(), Json::array()}) {
    EXPECT_EQ(refusal("llama", {{"clip_qkv", value}}), "") << value;
  }
}

TEST(HfConfigRefusals, MembersThatWouldChangeTheResultAreRefusedByName) {
  EXPECT_EQ(refusal("llama", {{"hidden_act", "gelu"}}),
            "hidden_act: is \"gelu\", weft computes \"silu\" only");
  EXPECT_EQ(refusal("gpt2", {{"scale_attn_weights", false}}),
            "scale_attn_weights: is false, weft computes true only");
  EXPECT_EQ(refusal("gpt2", {{"scale_attn_by_inverse_layer_idx", true}}),
            "scale_attn_by_inverse_layer_idx: is true, weft computes false only");
  EXPECT_EQ(refusal("gpt2", {{"activation_function", "relu"}}),
            "activation_function: is \"relu\", weft computes \"gelu_new\" only");
  for (const char* family : kFamilies) {
    EXPECT_EQ(refusal(family, {{"add_cross_attention", true}}),
              "add_cross_attention: is true, weft computes false only");
    EXPECT_EQ(refusal(family, {{"is_encoder_decoder", true}}),
              "is_encoder_decoder: is true, weft computes false only");
  }
  EXPECT_EQ(refusal("jamba", {{"sliding_window", 8}}),
            "sliding_window: is 8, weft computes null only");
  EXPECT_EQ(refusal("mamba2", {{"norm_before_gate", true}}), "");  // transformers does not read it
  EXPECT_EQ(refusal("openelm", {{"ffn_with_glu", false}}),
            "ffn_with_glu: is false, weft computes true only");
  EXPECT_EQ(refusal("openelm", {{"normalization_layer_name", "layer_norm"}}),
            "normalization_layer_name: is \"layer_norm\", weft computes \"rms_norm\" only");
}

TEST(HfConfigRefusals, AModelTypeThatIsMissingOrUnknownIsToldWhatThereIs) {
  const std::string known = ", weft knows llama, mixtral, gpt2, jamba, mamba, mamba2, openelm";
  EXPECT_EQ(refusal("llama", {{"model_type", "bert"}}), "model_type: is 'bert'" + known);
  Json json = fixture("llama");
  json.erase("model_type");
  EXPECT_EQ(refusal(json.dump()), "model_type: is missing" + known);
  json["model_type"] = 5;
  EXPECT_EQ(refusal(json.dump()), "model_type: is missing" + known);
}

TEST(HfConfigRefusals, ValuesOfTheWrongTypeAreNamed) {
  const auto refused = [](const Json& value) { return refusal("llama", {{"hidden_size", value}}); };
  EXPECT_EQ(refused("16"), "hidden_size: is \"16\", must be a whole number");
  EXPECT_EQ(refused(-16), "hidden_size: is -16, must be a whole number");
  EXPECT_EQ(refused(16.0), "hidden_size: is 16.0, must be a whole number");
  EXPECT_EQ(refused(true), "hidden_size: is true, must be a whole number");
  EXPECT_EQ(refused({16}), "hidden_size: is [16], must be a whole number");
  EXPECT_EQ(refused(int64_t{1} << 60),
            "hidden_size: is 1152921504606846976, must be a whole number");
  EXPECT_EQ(refused(nullptr), "hidden_size: is missing");
  EXPECT_EQ(refusal("llama", {{"rms_norm_eps", "1e-5"}}),
            "rms_norm_eps: is \"1e-5\", must be a number");
  EXPECT_EQ(refusal("llama", {{"tie_word_embeddings", 1}}),
            "tie_word_embeddings: is 1, must be true or false");
  EXPECT_EQ(refusal("llama", {{"attention_dropout", "none"}}),
            "attention_dropout: is \"none\", must be a number");
}

TEST(HfConfigRefusals, SizesOutOfRangeAreNamed) {
  EXPECT_EQ(refusal("llama", {{"hidden_size", 0}}),
            "hidden_size: is 0, must be from 1 to 16777216");
  EXPECT_EQ(refusal("llama", {{"num_hidden_layers", 0}}),
            "num_layers: is 0, must be from 1 to 10000");
  EXPECT_EQ(refusal("llama", {{"num_hidden_layers", 10001}}),
            "num_layers: is 10001, must be from 1 to 10000");
  EXPECT_THAT(refusal("llama", {{"vocab_size", 0}}), HasSubstr("vocab_size: is 0, must be"));
  EXPECT_THAT(refusal("llama", {{"num_attention_heads", 0}}), HasSubstr("num_heads: is 0, must"));
  EXPECT_THAT(refusal("gpt2", {{"n_positions", 0}}), HasSubstr("max_position: is 0, must be"));
  EXPECT_THAT(refusal("jamba", {{"attn_layer_period", 0}}),
              HasSubstr("layout.attention_period: is 0, must be"));
  EXPECT_THAT(refusal("jamba", {{"num_experts", 0}}), HasSubstr("moe.num_experts: is 0, must be"));
  EXPECT_THAT(refusal("mamba", {{"state_size", 0}}), HasSubstr("mamba.state_size: is 0, must be"));
  EXPECT_THAT(refusal("mamba2", {{"head_dim", 0}}), HasSubstr("num_heads: is 4, but"));
  EXPECT_THAT(refusal("openelm", {{"num_transformer_layers", 0}}), HasSubstr("qkv_multipliers"));
  EXPECT_THAT(refusal("openelm", {{"head_dim", 0}}), HasSubstr("qkv_multipliers"));
}

// Products of sizes must not wrap around on the way to their ranges.
TEST(HfConfigRefusals, SizesWhoseProductHasNoRoomAreRefused) {
  const int64_t wide = int64_t{1} << 40;
  EXPECT_NE(refusal("mamba2", {{"expand", wide}, {"hidden_size", wide}, {"num_heads", 0}}), "");
  EXPECT_NE(refusal("openelm", {{"head_dim", wide}, {"num_gqa_groups", wide}}), "");
  EXPECT_NE(refusal("openelm", {{"qkv_multipliers", {0.5, 1e300}}}), "");
}

TEST(HfConfigRefusals, NumbersThatDoNotAgreeAreNamed) {
  EXPECT_EQ(refusal("mamba2", {{"num_heads", 5}}),
            "num_heads: is 5, but num_heads * head_dim must be expand * hidden_size");
  EXPECT_EQ(refusal("llama", {{"num_key_value_heads", 3}}),
            "num_kv_heads: is 3, must divide num_heads (4)");
  EXPECT_EQ(refusal("mixtral", {{"num_experts_per_tok", 5}}),
            "moe.top_k: is 5, must be at most num_experts (4)");
  EXPECT_EQ(refusal("llama", {{"pad_token_id", 31}}),
            "pad_token_id: is 31, must be below vocab_size (31)");
  EXPECT_EQ(refusal("jamba", {{"attn_layer_offset", 3}}),
            "layout.attention_offset: is 3, must be below attention_period (3)");
}

TEST(HfConfigRefusals, OpenElmHeadsMustBeThoseOfTheMultipliers) {
  const Json right = {{"num_query_heads", {2, 4, 4}}, {"num_kv_heads", {1, 2, 2}}};
  EXPECT_EQ(refusal("openelm", right), "");
  EXPECT_EQ(refusal("openelm", {{"num_query_heads", {2, 4, 6}}, {"num_kv_heads", {1, 2}}}),
            "num_query_heads: is [2,4,6], but the multipliers give [2,4,4]\n"
            "num_kv_heads: is [1,2], but the multipliers give [1,2,2]");
  EXPECT_EQ(refusal("openelm", {{"qkv_multipliers", {0.5, 0.6, 0.7, 0.8}}}),
            "qkv_multipliers: must have 1, 2 or num_transformer_layers values");
  EXPECT_EQ(refusal("openelm", {{"ffn_multipliers", {0.5, 0.6, 0.7, 0.8}}}),
            "layerwise.ffn: has 4 values, must have 1, 2 or num_layers (3)");
  EXPECT_EQ(refusal("openelm", {{"ffn_multipliers", "wide"}}),
            "ffn_multipliers: must be a number or a list");
  EXPECT_EQ(refusal("openelm", {{"ffn_multipliers", {0.5, "x"}}}),
            "ffn_multipliers: must be a list of numbers from 0.001 to 1000");
  EXPECT_EQ(refusal("openelm", {{"ffn_multipliers", nullptr}}), "ffn_multipliers: is missing");
}

TEST(HfConfigStepLimit, HasSeveralForms) {
  const auto limits = [](const std::string& value) {
    std::string text = fixture("mamba2").dump();
    const std::string now = R"([0.0,{"__float__":"Infinity"}])";
    const size_t at = text.find(now);
    WEFT_CHECK(at != std::string::npos, text);
    const auto config = read_hf_config(text.replace(at, now.size(), value), "config.json");
    WEFT_CHECK(config.ok(), config.status());
    const auto mixer = std::get<Mamba2Config>(build_config(config->model).layers[0].mixer);
    return std::pair(mixer.dt_limit_low, mixer.dt_limit_high);
  };
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(limits("[0.0, Infinity]"), std::pair(0.0, infinity));
  EXPECT_EQ(limits(R"([0.5, {"__float__": "Infinity"}])"), std::pair(0.5, infinity));
  EXPECT_EQ(limits("[0.1, 0.4]"), std::pair(0.1, 0.4));
  EXPECT_EQ(limits("[0, 3]"), std::pair(0.0, 3.0));
  EXPECT_EQ(limits("null"), std::pair(0.0, infinity));
}

TEST(HfConfigStepLimit, MustBeTwoNumbersTheLowerFirst) {
  for (const char* value : {R"([0.1])", R"([0.4, 0.1])", R"([-0.1, 1])", R"(["a", 1])", R"(3)",
                            R"([0.1, null])", R"([0.1, {"__float__": "NaN"}])",
                            R"([{"__float__": "Infinity"}, {"__float__": "Infinity"}])"}) {
    const Json limit = Json::parse(value);
    EXPECT_EQ(refusal("mamba2", {{"time_step_limit", limit}}),
              "time_step_limit: is " + limit.dump() + ", must be two numbers, the lower first");
  }
}

TEST(PythonJson, BareWordsBecomeTaggedOnesOutsideOfStrings) {
  const auto parsed = parse_python_json(R"({"a": [Infinity, -Infinity, NaN],
                                            "b": "Infinity", "NaN\"NaN": 1})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, Json::parse(R"({"a": [{"__float__": "Infinity"}, {"__float__": "-Infinity"},
                                           {"__float__": "NaN"}],
                                     "b": "Infinity", "NaN\"NaN": 1})"));
  EXPECT_FALSE(parse_python_json("{\"a\": Infinityx}").ok());
}

TEST(HfConfigRefusals, WhatIsNoJsonObjectIsRefused) {
  EXPECT_THAT(refusal(""), testing::StartsWith("is not JSON (byte "));
  EXPECT_THAT(refusal("{\"model_type\": \"llama\""), testing::StartsWith("is not JSON (byte "));
  EXPECT_EQ(refusal("[]"), "is no JSON object");
  EXPECT_EQ(refusal("null"), "is no JSON object");
  EXPECT_EQ(refusal(std::string(100'000, '[')), "is nested more than 16 deep");
  EXPECT_EQ(refusal(R"({"model_type": "llama", "model_type": "gpt2"})"), "has 'model_type' twice");
  std::string many = "[0";
  for (int i = 0; i < 100'000; ++i) many += ",0";
  EXPECT_EQ(refusal("{\"a\": " + many + "]}"), "has more than 100000 values");
}

TEST(HfConfigRefusals, SeveralProblemsAreNamedAtOnce) {
  EXPECT_EQ(refusal("llama", {{"hidden_size", "16"},
                              {"num_hidden_layers", nullptr},
                              {"hidden_act", "gelu"},
                              {"warp", 2}}),
            "hidden_size: is \"16\", must be a whole number\n"
            "num_hidden_layers: is missing\n"
            "hidden_act: is \"gelu\", weft computes \"silu\" only\n"
            "warp: is 2, which weft does not know; if it changes nothing, take it out");
  EXPECT_EQ(refusal("llama", {{"hidden_size", 0}, {"num_hidden_layers", 0}}),
            "hidden_size: is 0, must be from 1 to 16777216\n"
            "num_layers: is 0, must be from 1 to 10000");
}

TEST(HfConfigWarnings, TellOfWhatOnlyTrainingWouldNotice) {
  EXPECT_THAT(read(fixture("llama")).warnings, IsEmpty());
  EXPECT_THAT(read(fixture("gpt2")).warnings,
              ElementsAre("attn_pdrop is 0.1: weft trains without it; other results do not change",
                          "resid_pdrop is 0.1: weft trains without it; other results do not change",
                          "embd_pdrop is 0.1: weft trains without it; other results do not "
                          "change"));
  EXPECT_THAT(
      read(changed("mixtral", {{"router_jitter_noise", 0.01}, {"attention_dropout", 0}})).warnings,
      ElementsAre("router_jitter_noise is 0.01: weft trains without it; other results do not "
                  "change"));
}

TEST(WriteHfConfig, GivesTheSourceBackWhereTheModelIsItsOwn) {
  for (const char* family : kFamilies) {
    Json source = fixture(family);
    source["my_note"] = Json::object();
    const HfConfig config = read(source);
    EXPECT_EQ(write_hf_config(config.model, config.json, "float32"), source) << family;
    const char* key = source.contains("dtype") ? "dtype" : "torch_dtype";
    source[key] = "bfloat16";
    EXPECT_EQ(write_hf_config(config.model, config.json, "bfloat16"), source) << family;
  }
}

TEST(WriteHfConfig, KeepsTheOldSpellings) {
  Json source = fixture("llama");
  source.erase("rope_parameters");
  source.erase("dtype");
  source.update({{"rope_theta", 500.0},
                 {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                 {"torch_dtype", "float16"}});
  const HfConfig config = read(source);
  EXPECT_EQ(write_hf_config(config.model, config.json, "float16"), source);
}

TEST(WriteHfConfig, KeepsWhatItDoesNotUseWhereTheModelHasChanged) {
  Json source = fixture("llama");
  source["my_note"] = Json::array();
  HfConfig config = read(source);
  config.model.rope.type = RopeType::kLinear;
  config.model.rope.factor = 2.0;
  const Json written = write_hf_config(config.model, config.json, "float32");
  EXPECT_EQ(written["my_note"], Json::array());
  EXPECT_EQ(written["transformers_version"], "5.23.0");
  EXPECT_FALSE(written.contains("rope_parameters"));
  EXPECT_EQ(written["rope_scaling"], (Json{{"factor", 2.0}, {"rope_type", "linear"}}));
  EXPECT_EQ(built(written), build_config(config.model));
}

TEST(WriteHfConfig, AFreshOneReadsBackToAnEqualModel) {
  for (const char* family : kFamilies) {
    for (const Json& json : {fixture(family), smallest(family)}) {
      const HfConfig config = read(json);
      EXPECT_EQ(check_exportable(config.model), absl::OkStatus()) << family;
      const Json written = write_hf_config(config.model, nullptr, "bfloat16");
      EXPECT_EQ(written["model_type"], family);
      EXPECT_EQ(written["torch_dtype"], "bfloat16");
      ASSERT_TRUE(written["architectures"].is_array());
      EXPECT_EQ(written["architectures"].size(), 1u);
      EXPECT_EQ(built(written), build_config(config.model)) << family;
      EXPECT_EQ(*read(written).model.max_position, *config.model.max_position);
      EXPECT_THAT(read(written).warnings, IsEmpty());
    }
  }
}

TEST(WriteHfConfig, NamesTheClassThatTransformersLoads) {
  const auto architecture = [](const char* family) {
    return write_hf_config(read(fixture(family)).model, nullptr, "float32")["architectures"][0];
  };
  EXPECT_EQ(architecture("gpt2"), "GPT2LMHeadModel");
  EXPECT_EQ(architecture("jamba"), "JambaForCausalLM");
  EXPECT_EQ(architecture("llama"), "LlamaForCausalLM");
  EXPECT_EQ(architecture("mamba"), "MambaForCausalLM");
  EXPECT_EQ(architecture("mamba2"), "Mamba2ForCausalLM");
  EXPECT_EQ(architecture("mixtral"), "MixtralForCausalLM");
  EXPECT_EQ(architecture("openelm"), "OpenELMForCausalLM");
}

TEST(WriteHfConfig, ScaledRotaryPositionsReadBack) {
  for (const char* text :
       {R"({"rope_type": "linear", "factor": 3.0})", R"({"rope_type": "dynamic", "factor": 2.5})",
        R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
            "mscale": 0.7, "mscale_all_dim": 1.4, "truncate": false, "beta_fast": 6.0})",
        R"({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 32,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0})"}) {
    const ModelRecipe model =
        read(changed("llama", {{"rope_parameters", Json::parse(text)}})).model;
    EXPECT_EQ(built(write_hf_config(model, nullptr, "float32")), build_config(model)) << text;
  }
}

TEST(WriteHfConfig, AnNtkBaseIsWrittenAsThePlainBaseThatItComesTo) {
  ModelRecipe model = read(fixture("llama")).model;
  model.rope.type = RopeType::kNtk;
  model.rope.factor = 4.0;
  EXPECT_EQ(check_exportable(model), absl::OkStatus());
  const Json written = write_hf_config(model, nullptr, "float32");
  EXPECT_EQ(written["rope_theta"], 1e4 * 16.0);  // 4^(4 / 2) with heads of 4
  EXPECT_EQ(written["rope_scaling"], Json(nullptr));
  EXPECT_EQ(attention(built(written)).rope.type, RopeType::kDefault);
}

// transformers refuses an offset that is not below its period.
TEST(WriteHfConfig, JambaWithoutExpertsIsWrittenAsTransformersReadsIt) {
  ModelRecipe model = read(fixture("jamba")).model;
  model.layout.moe_period = 0;
  ASSERT_EQ(check_exportable(model), absl::OkStatus());
  const Json written = write_hf_config(model, nullptr, "float32");
  EXPECT_LT(written["expert_layer_offset"].get<int64_t>(),
            written["expert_layer_period"].get<int64_t>());
  EXPECT_EQ(built(written).layers, build_config(model).layers);
}

ModelRecipe resolved(Family family) {
  ModelRecipe recipe;
  recipe.family = family;
  recipe.vocab_size = 31;
  recipe.hidden_size = 16;
  recipe.num_layers = 2;
  recipe.num_heads = 4;
  recipe.num_kv_heads = 4;
  recipe.mamba2.head_dim = 8;
  recipe.layout.attention_period = 2;
  resolve(recipe);
  return recipe;
}

TEST(CheckExportable, RefusesFamiliesThatTransformersLacks) {
  const std::string lacking =
      " has no format in transformers: jamba, mamba, mamba2, llama, gpt2, mixtral and openelm have";
  EXPECT_EQ(check_exportable(resolved(Family::kHybrid)).message(),
            "a model of family hybrid" + lacking);
  EXPECT_EQ(check_exportable(explicit_recipe(resolved(Family::kLlama))).message(),
            "a model of family layers" + lacking);
}

TEST(CheckExportable, NamesWhatTheFormatHasNoPlaceFor) {
  const auto lost = [](Family family, const std::function<void(ModelRecipe&)>& change) {
    ModelRecipe model = resolved(family);
    EXPECT_EQ(check_exportable(model), absl::OkStatus());
    change(model);
    const absl::Status status = check_exportable(model);
    EXPECT_EQ(exit_status(status), 2);
    const std::string message(status.message()), start = "transformers' format of family ";
    EXPECT_TRUE(message.starts_with(start + std::string(name_of(family)))) << message;
    return message.substr(std::min(message.size(), message.find(" has in ") + 8));
  };
  const std::string mixers = "model.attention, rope.type, mamba, mamba2 or layerwise";
  const std::string feed_forwards = "model.mlp, moe or layerwise";
  EXPECT_EQ(lost(Family::kLlama, [](auto& m) { m.attention.qk_norm = true; }), mixers);
  EXPECT_EQ(lost(Family::kLlama, [](auto& m) { m.attention.sliding_window = 8; }), mixers);
  EXPECT_EQ(lost(Family::kLlama, [](auto& m) { m.rope.type = RopeType::kNone; }), mixers);
  EXPECT_EQ(lost(Family::kLlama, [](auto& m) { m.mlp.gated = false; }), feed_forwards);
  EXPECT_EQ(lost(Family::kLlama, [](auto& m) { m.norm.type = NormType::kLayer; }), "model.norm");
  EXPECT_EQ(lost(Family::kLlama, [](auto& m) { m.learned_positions = true; }),
            "model.learned_positions");
  EXPECT_EQ(lost(Family::kLlama, [](auto& m) { m.layerwise.ffn = {0.5, 4.0}; }), feed_forwards);
  EXPECT_EQ(lost(Family::kGpt2, [](auto& m) { m.pad_token_id = 3; }), "model.pad_token_id");
  EXPECT_EQ(lost(Family::kGpt2, [](auto& m) { m.attention.bias = false; }), mixers);
  EXPECT_EQ(lost(Family::kMixtral, [](auto& m) { m.moe.renormalize = false; }), feed_forwards);
  EXPECT_EQ(lost(Family::kJamba, [](auto& m) { m.mamba.inner_norms = false; }), mixers);
  EXPECT_EQ(lost(Family::kJamba, [](auto& m) { m.rope.type = RopeType::kDefault; }), mixers);
  EXPECT_EQ(lost(Family::kMamba2, [](auto& m) { m.mamba2.norm_before_gate = true; }), mixers);
  EXPECT_EQ(lost(Family::kOpenElm,
                 [](auto& m) {
                   m.mlp.bias = true;
                   m.norm.type = NormType::kLayer;
                 }),
            "model.norm, " + feed_forwards);
}

// In transformers the unscaled base ends at max_position_embeddings.
TEST(CheckExportable, RefusesADynamicBaseThatStartsElsewhere) {
  ModelRecipe model = resolved(Family::kLlama);
  model.head_dim = 8;
  model.rope.type = RopeType::kDynamic;
  model.rope.factor = 2;
  EXPECT_EQ(check_exportable(model), absl::OkStatus());
  model.rope.original_max_position = 16;
  EXPECT_FALSE(check_exportable(model).ok());
}

TEST(CheckExportable, LetsPassWhatChangesNoResult) {
  ModelRecipe model = resolved(Family::kMamba2);
  model.init.std = 0.5;
  model.mamba2.chunk_size = 16;
  model.mamba2.dt.max = 0.2;
  model.residual_fp32 = false;
  EXPECT_EQ(check_exportable(model), absl::OkStatus());
  ModelRecipe mixtral = resolved(Family::kMixtral);
  mixtral.moe.aux = AuxForm::kSwitch;
  mixtral.moe.z_coef = 0.1;
  EXPECT_EQ(check_exportable(mixtral), absl::OkStatus());
}

}  // namespace
}  // namespace weft
