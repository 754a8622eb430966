// What is refused of config.json, and what is warned of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/huggingface_configs.h"

namespace weft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;

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
  for (const char* family : kHfFamilies) {
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
  Json json = fixture_config("llama");
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
  EXPECT_EQ(refusal("openelm", {{"num_transformer_layers", 0}}),
            "num_layers: is 0, must be from 1 to 10000");
  EXPECT_EQ(refusal("openelm", {{"head_dim", 0}, {"num_query_heads", {1, 2, 3}}}),
            "head_dim: is 0, must be from 1 to 16777216");
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
  // Another problem stands alone.
  EXPECT_THAT(refusal("openelm", {{"head_dim", "x"}, {"num_query_heads", {9}}}),
              MatchesRegex("head_dim: is \"x\", must be [^\n]*"));
  EXPECT_EQ(refusal("openelm", {{"num_query_heads", {9}}, {"ffn_multipliers", "wide"}}),
            "ffn_multipliers: must be a number or a list");
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

TEST(PythonJson, BareWordsBecomeTaggedOnesOutsideOfStrings) {
  const auto parsed = parse_python_json(R"({"a": [Infinity, -Infinity, NaN],
                                            "b": "Infinity", "NaN\"NaN": 1})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, Json::parse(R"({"a": [{"__float__": "Infinity"}, {"__float__": "-Infinity"},
                                           {"__float__": "NaN"}],
                                     "b": "Infinity", "NaN\"NaN": 1})"));
  EXPECT_FALSE(parse_python_json("{\"a\": Infinityx}").ok());
}

TEST(HfConfigWarnings, TellOfWhatOnlyTrainingWouldNotice) {
  EXPECT_THAT(read_config(fixture_config("llama")).warnings, IsEmpty());
  EXPECT_THAT(read_config(fixture_config("gpt2")).warnings,
              ElementsAre("attn_pdrop is 0.1: weft trains without it; other results do not change",
                          "resid_pdrop is 0.1: weft trains without it; other results do not change",
                          "embd_pdrop is 0.1: weft trains without it; other results do not "
                          "change"));
  EXPECT_THAT(
      read_config(changed("mixtral", {{"router_jitter_noise", 0.01}, {"attention_dropout", 0}}))
          .warnings,
      ElementsAre("router_jitter_noise is 0.01: weft trains without it; other results do not "
                  "change"));
}

}  // namespace
}  // namespace weft
