// Rotary positions and step limits of config.json, in all their spellings.
#include <cmath>
#include <limits>
#include <utility>

#include <gtest/gtest.h>

#include "tests/models/huggingface_configs.h"

namespace weft {
namespace {

RopeConfig rope(const Json& members) {
  Json json = fixture_config("llama");
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

// `rope_scaling or rope_parameters`, in Python's sense.
TEST(HfConfigRope, TheOlderWordCountsWhereItSaysAnything) {
  const Json linear = {{"rope_type", "linear"}, {"factor", 3.0}, {"rope_theta", 500.0}};
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
  const RopeConfig expected = rope({{"rope_parameters", linear}});
  EXPECT_EQ(expected.type, RopeType::kLinear);
  for (const Json& nothing : {Json(nullptr), Json::object()}) {
    EXPECT_EQ(rope({{"rope_scaling", nothing}, {"rope_parameters", linear}}), expected);
    EXPECT_EQ(rope({{"rope_scaling", linear}, {"rope_parameters", nothing}}), expected);
    EXPECT_EQ(rope({{"rope_scaling", nothing}, {"rope_parameters", nothing}}),
              rope(Json::object()));
  }
  EXPECT_EQ(rope({{"rope_scaling", linear}, {"rope_parameters", yarn}}), expected);
  EXPECT_EQ(refusal("llama", {{"rope_scaling", 2}, {"rope_parameters", linear}}),
            "rope_scaling: must be an object or null");
}

TEST(HfConfigRope, ATypeThatIsNoWordIsRefused) {
  const std::string known = ", weft knows default, linear, dynamic, llama3 and yarn";
  for (const Json& type :
       {Json(nullptr), Json(5), Json(false), Json(""), Json::array({"linear"})}) {
    for (const char* key : {"rope_type", "type"}) {
      EXPECT_EQ(refusal("llama", {{"rope_scaling", {{key, type}, {"factor", 2.0}}}}),
                std::string("rope_scaling: ") + key + ": is " + type.dump() + known);
    }
  }
  // transformers does not fall back on `type` where the newer word is there.
  EXPECT_EQ(refusal("llama", {{"rope_scaling", {{"rope_type", nullptr}, {"type", "linear"}}}}),
            "rope_scaling: rope_type: is null" + known);
  EXPECT_EQ(rope({{"rope_scaling", {{"rope_type", "default"}, {"type", "linear"}}}}),
            rope(Json::object()));
}

TEST(HfConfigRope, WhatWeftDoesNotKnowIsRefusedByName) {
  const auto refused = [](const Json& dictionary) {
    return refusal("llama", {{"rope_parameters", dictionary}});
  };
  EXPECT_EQ(refused({{"rope_type", "longrope"}}),
            "rope_parameters: rope_type: is \"longrope\", weft knows default, linear, dynamic, "
            "llama3 and yarn");
  EXPECT_EQ(refused({{"rope_type", "linear"}}), "rope_parameters: factor: is missing");
  EXPECT_EQ(refused({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}),
            "rope_parameters: partial_rotary_factor: is 0.5, weft computes 1.0 only");
  EXPECT_EQ(refused({{"rope_type", "default"}, {"partial_rotary_factor", 1.0}}), "");
  EXPECT_EQ(refused({{"rope_type", "default"}, {"warp", 2}}),
            "rope_parameters: warp: is 2, which weft does not know; if it changes nothing, take it "
            "out");
  EXPECT_EQ(refused(Json::array({1})), "rope_parameters: must be an object or null");
  EXPECT_EQ(refused({{"rope_type", "llama3"}, {"factor", "8"}}),
            "rope_parameters: factor: is \"8\", must be a number\n"
            "rope_parameters: low_freq_factor: is missing\n"
            "rope_parameters: high_freq_factor: is missing");
  EXPECT_EQ(refusal("llama", {{"partial_rotary_factor", 0.5}}),
            "partial_rotary_factor: is 0.5, weft computes 1.0 only");
}

TEST(HfConfigStepLimit, HasSeveralForms) {
  const auto limits = [](const std::string& value) {
    std::string text = fixture_config("mamba2").dump();
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

}  // namespace
}  // namespace weft
