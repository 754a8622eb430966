// config.json as weft writes it, and which models have one.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/huggingface_configs.h"

namespace weft {
namespace {

using testing::IsEmpty;

TEST(WriteHfConfig, GivesTheSourceBackWhereTheModelIsItsOwn) {
  for (const char* family : kHfFamilies) {
    Json source = fixture_config(family);
    source["my_note"] = Json::object();
    const HfConfig config = read_config(source);
    EXPECT_EQ(write_hf_config(config.model, config.json, "float32"), source) << family;
    const char* key = source.contains("dtype") ? "dtype" : "torch_dtype";
    source[key] = "bfloat16";
    EXPECT_EQ(write_hf_config(config.model, config.json, "bfloat16"), source) << family;
  }
}

TEST(WriteHfConfig, KeepsTheOldSpellings) {
  Json source = fixture_config("llama");
  source.erase("rope_parameters");
  source.erase("dtype");
  source.update({{"rope_theta", 500.0},
                 {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                 {"torch_dtype", "float16"}});
  const HfConfig config = read_config(source);
  EXPECT_EQ(write_hf_config(config.model, config.json, "float16"), source);
}

TEST(WriteHfConfig, KeepsWhatItDoesNotUseWhereTheModelHasChanged) {
  Json source = fixture_config("llama");
  source["my_note"] = Json::array();
  HfConfig config = read_config(source);
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
  for (const char* family : kHfFamilies) {
    for (const Json& json : {fixture_config(family), smallest(family)}) {
      const HfConfig config = read_config(json);
      EXPECT_EQ(check_exportable(config.model), absl::OkStatus()) << family;
      const Json written = write_hf_config(config.model, nullptr, "bfloat16");
      EXPECT_EQ(written["model_type"], family);
      EXPECT_EQ(written["torch_dtype"], "bfloat16");
      ASSERT_TRUE(written["architectures"].is_array());
      EXPECT_EQ(written["architectures"].size(), 1u);
      EXPECT_EQ(built(written), build_config(config.model)) << family;
      EXPECT_EQ(*read_config(written).model.max_position, *config.model.max_position);
      EXPECT_THAT(read_config(written).warnings, IsEmpty());
    }
  }
}

TEST(WriteHfConfig, NamesTheClassThatTransformersLoads) {
  const auto architecture = [](const char* family) {
    return write_hf_config(read_config(fixture_config(family)).model, nullptr,
                           "float32")["architectures"][0];
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
        read_config(changed("llama", {{"rope_parameters", Json::parse(text)}})).model;
    EXPECT_EQ(built(write_hf_config(model, nullptr, "float32")), build_config(model)) << text;
  }
}

TEST(WriteHfConfig, AnNtkBaseIsWrittenAsThePlainBaseThatItComesTo) {
  ModelRecipe model = read_config(fixture_config("llama")).model;
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
  ModelRecipe model = read_config(fixture_config("jamba")).model;
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

TEST(CheckExportable, RefusesAWidthThatTheHeadsDoNotDivide) {
  const auto with_heads = [](Family family) {
    ModelRecipe model = resolved(family);  // hidden_size 16, heads of 4
    model.num_heads = model.num_kv_heads = 3;
    return check_exportable(model);
  };
  for (const Family family : {Family::kLlama, Family::kGpt2, Family::kJamba}) {
    const absl::Status status = with_heads(family);
    EXPECT_EQ(exit_status(status), 2);
    EXPECT_EQ(status.message(),
              "transformers' format of family " + std::string(name_of(family)) +
                  " has no place for a hidden_size (16) that num_heads (3) does not divide, "
                  "whatever head_dim is");
  }
  EXPECT_EQ(with_heads(Family::kMixtral), absl::OkStatus());
}

// Its class checks the range of initializer_range; those of the other families do not.
TEST(CheckExportable, RefusesALlamaWithWideInitialValues) {
  ModelRecipe model = resolved(Family::kLlama);
  model.init.std = 1.0;
  EXPECT_EQ(check_exportable(model), absl::OkStatus());
  model.init.std = 1.5;
  EXPECT_EQ(check_exportable(model).message(),
            "transformers' format of family llama has no place for an init.std (1.5) above 1");
  ModelRecipe mixtral = resolved(Family::kMixtral);
  mixtral.init.std = 1.5;
  EXPECT_EQ(check_exportable(mixtral), absl::OkStatus());
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
