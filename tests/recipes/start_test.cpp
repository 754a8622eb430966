// Recipes that start from a checkpoint: the model that is left out, or given beside it.
#include <cmath>

#include "absl/strings/str_join.h"
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/safetensors.h"
#include "models/huggingface/folder.h"
#include "recipes/checkpoint_folders.h"
#include "recipes/load.h"
#include "recipes/stored_model.h"
#include "tests/support/llama_model.h"
#include "tests/support/process.h"

namespace weft {
namespace {

using testing::HasSubstr;

constexpr const char* kFamilies[] = {"gpt2",   "jamba",   "llama",  "mamba",
                                     "mamba2", "mixtral", "openelm"};

// Data that is not there: a warning to validate.
constexpr char kStages[] = R"(
stages:
  - steps: 4
    sequence_length: 12
    batch_tokens: 48
    data:
      tokenizer: {kind: ids, end_id: 2}
      sources: [{path: shards}]
)";

// The same behind the model of the llama fixture.
std::string model_and_stages() { return std::string("\n") + kLlamaModel + kStages; }

class StartOfARecipe : public testing::Test {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    fs::current_path(folder_.path());
  }
  void TearDown() override { fs::current_path(before_); }

  static void copy_fixture(const std::string& family) {
    fs::remove_all("source");
    fs::create_directory("source");
    const fs::path fixture = fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy(fixture / name, fs::path("source") / name);
    }
  }
  // The llama in `source` with `rows` ids, whose embedding and head are zero.
  static void widen_vocabulary(int64_t rows) {
    const fs::path fixture = fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures/llama";
    const auto file = SafetensorsFile::open(fixture / "model.safetensors");
    ASSERT_TRUE(file.ok()) << file.status();
    std::vector<NamedTensor> tensors;
    for (const SafetensorsEntry& entry : file->entries()) {
      const bool has_ids =
          entry.name == "model.embed_tokens.weight" || entry.name == "lm_head.weight";
      tensors.push_back({entry.name, has_ids ? at::zeros({rows, 16}) : file->read(entry)});
    }
    fs::remove("source/model.safetensors");
    const auto written = write_safetensors("source/model.safetensors", tensors, {});
    ASSERT_TRUE(written.ok()) << written.status();
    Json config = Json::parse(contents("source/config.json"));
    config["vocab_size"] = rows;
    fs::remove("source/config.json");
    write_text("source/config.json", config.dump());
  }
  static absl::StatusOr<LoadedRecipe> load(const std::string& more,
                                           Purpose purpose = Purpose::kValidate,
                                           const ResumedModel& resumed = {},
                                           const std::vector<std::string>& sets = {}) {
    write_text("r.yaml", "name: on\ninit: {from: huggingface, path: source}" + more);
    return load_recipe("r.yaml", sets, purpose, resumed);
  }

 private:
  TemporaryFolder folder_;
  fs::path before_;
};

TEST_F(StartOfARecipe, AModelThatIsLeftOutIsThatOfTheFolder) {
  for (const char* family : kFamilies) {
    copy_fixture(family);
    const auto folder = HfFolder::open("source");
    ASSERT_TRUE(folder.ok()) << folder.status();
    const auto loaded = load(kStages);
    ASSERT_TRUE(loaded.ok()) << family << ": " << loaded.status();
    EXPECT_EQ(write_model(loaded->recipe.model), write_model(folder->config().model)) << family;
    EXPECT_STREQ(name_of(loaded->recipe.model.family), family);
    EXPECT_EQ(*loaded->recipe.stages[0].micro_batch_tokens, 48);
  }
}

// A checkpoint describes itself by this text.
TEST_F(StartOfARecipe, TheResolvedRecipeHasTheWholeModelAndNeedsNoFolder) {
  for (const char* family : kFamilies) {
    copy_fixture(family);
    const auto loaded = load(kStages);
    ASSERT_TRUE(loaded.ok()) << family << ": " << loaded.status();
    fs::remove_all("source");
    const std::string text = write_recipe(loaded->recipe);
    EXPECT_THAT(text, HasSubstr("init:\n  from: huggingface\n  path: source\nmodel:\n  family: "));
    const auto again = parse_recipe(text, "written");
    ASSERT_TRUE(again.ok()) << family << ": " << again.status();
    EXPECT_EQ(write_recipe(*again), text) << family;
    EXPECT_TRUE(differences(loaded->recipe, *again).empty()) << family;
    EXPECT_TRUE(build_config(loaded->recipe.model) == build_config(again->model)) << family;
  }
}

TEST_F(StartOfARecipe, AFolderThatIsNotThereIsAWarningToValidateIfTheModelIsGiven) {
  const auto loaded = load(model_and_stages());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->warnings,
              testing::Contains("r.yaml:2:33: init.path: 'source' does not exist"));
  for (const auto& [text, purpose] :
       {std::pair<std::string, Purpose>{model_and_stages(), Purpose::kTrain},
        {kStages, Purpose::kValidate},
        {kStages, Purpose::kTrain}}) {
    const auto refused = load(text, purpose);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(exit_status(refused.status()), 2);
    EXPECT_THAT(std::string(refused.status().message()),
                HasSubstr("r.yaml:2:33: init.path: 'source' does not exist"));
  }
}

TEST_F(StartOfARecipe, AModelThatIsGivenMustHaveTheFoldersTensors) {
  copy_fixture("llama");
  const std::string text = model_and_stages();
  EXPECT_TRUE(load(text).ok()) << load(text).status();
  EXPECT_EQ(load(text, Purpose::kValidate, {}, {"model.vocab_size=32"}).status().message(),
            "r.yaml:4:3: model: must have the tensors of 'source': 'embedding.weight' is [32, 16] "
            "here, [31, 16] there; 'head.weight' is [32, 16] here, [31, 16] there");
  EXPECT_EQ(load(text, Purpose::kValidate, {}, {"model.tie_embeddings=true"}).status().message(),
            "r.yaml:4:3: model: must have the tensors of 'source': 'head.weight' [31, 16] is only "
            "there");
  EXPECT_THAT(
      std::string(load(text, Purpose::kValidate, {}, {"model.num_layers=3"}).status().message()),
      HasSubstr("' [16] is only here; "));
}

TEST_F(StartOfARecipe, WhatElseDiffersIsAllowedAndListed) {
  copy_fixture("llama");
  const std::string text = model_and_stages();
  const auto same = load(text),
             other = load(text, Purpose::kValidate, {}, {"model.rope.theta=2e4"});
  ASSERT_TRUE(same.ok()) << same.status();
  ASSERT_TRUE(other.ok()) << other.status();
  const auto stored = read_stored_model("source");
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_THAT(differences(stored->model, same->recipe.model), testing::IsEmpty());
  EXPECT_THAT(differences(stored->model, other->recipe.model),
              testing::Contains("model.rope.theta: 10000 there, 20000 here"));
}

TEST_F(StartOfARecipe, WrittenKeysGoOverTheModelOfTheFolder) {
  copy_fixture("llama");
  const auto stored = read_stored_model("source");
  ASSERT_TRUE(stored.ok()) << stored.status();
  const auto written = load("\nmodel: {rope: {theta: 5.0e5}}" + std::string(kStages));
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(differences(stored->model, written->recipe.model),
              testing::ElementsAre("model.rope.theta: 10000 there, 5e+05 here"));
  const auto set = load(kStages, Purpose::kValidate, {}, {"model.rope.theta=5e5"});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(write_recipe(set->recipe), write_recipe(written->recipe));
  EXPECT_EQ(load(kStages, Purpose::kValidate, {}, {"model.vocab_size=32"}).status().message(),
            "--set model.vocab_size=32: model: must have the tensors of 'source': "
            "'embedding.weight' is [32, 16] here, [31, 16] there; 'head.weight' is [32, 16] here, "
            "[31, 16] there");
}

TEST_F(StartOfARecipe, WhatFollowsFromAKeyFollowsFromTheWrittenOne) {
  copy_fixture("llama");
  const std::string yarn = "\nmodel: {rope: {type: yarn, factor: 4}}";
  const auto first = load(yarn + kStages);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_DOUBLE_EQ(*first->recipe.model.rope.attention_factor, 0.1 * std::log(4.0) + 1);
  EXPECT_EQ(*first->recipe.model.rope.original_max_position, 64);
  // The run that goes on, and one that starts from it.
  const auto resumed = [&](const Recipe&) {
    return std::optional<ModelRecipe>(first->recipe.model);
  };
  const auto again = load(yarn + kStages, Purpose::kValidate, resumed);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(write_recipe(again->recipe), write_recipe(first->recipe));
  const auto longer = load(kStages, Purpose::kValidate, resumed, {"model.rope.factor=8"});
  ASSERT_TRUE(longer.ok()) << longer.status();
  EXPECT_DOUBLE_EQ(*longer->recipe.model.rope.attention_factor, 0.1 * std::log(8.0) + 1);
  const auto given = load(kStages, Purpose::kValidate, resumed,
                          {"model.rope.factor=8", "model.rope.attention_factor=1.5"});
  ASSERT_TRUE(given.ok()) << given.status();
  EXPECT_EQ(*given->recipe.model.rope.attention_factor, 1.5);
}

TEST_F(StartOfARecipe, AnotherPeriodOfWindowsHasItsOwnOffset) {
  ModelRecipe hybrid;
  hybrid.family = Family::kHybrid;
  hybrid.vocab_size = 31;
  hybrid.hidden_size = 64;
  hybrid.num_layers = 4;
  hybrid.attention.sliding_window = 8;
  hybrid.layout.window_period = 2;
  resolve(hybrid);
  const auto resumed = [&](const Recipe&) { return std::optional<ModelRecipe>(hybrid); };
  EXPECT_EQ(*load(kStages, Purpose::kValidate, resumed)->recipe.model.layout.window_offset, 1);
  const auto loaded = load(kStages, Purpose::kValidate, resumed, {"model.layout.window_period=4"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(*loaded->recipe.model.layout.window_offset, 3);
}

TEST_F(StartOfARecipe, AModelBesideAListOfLayersIsGivenWhole) {
  copy_fixture("llama");
  const ModelRecipe listed = explicit_recipe(load(kStages)->recipe.model);
  const auto resumed = [&](const Recipe&) { return std::optional<ModelRecipe>(listed); };
  EXPECT_EQ(load(kStages, Purpose::kValidate, resumed, {"model.rope.theta=2e4"}).status().message(),
            "--set model.rope.theta=2e4: model: must be given whole: the one that it starts from "
            "lists its layers");
  EXPECT_TRUE(load(model_and_stages(), Purpose::kValidate, resumed).ok());
}

TEST_F(StartOfARecipe, TextBesidePublishedWeightsIsWarnedAbout) {
  copy_fixture("llama");
  widen_vocabulary(300);
  const std::string stages = R"(
stages:
  - steps: 4
    sequence_length: 12
    batch_tokens: 48
    data: {sources: [{path: train.txt}]}
)";
  write_text("train.txt", "text");
  const auto text = load(stages);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(text->warnings,
              testing::ElementsAre(
                  "r.yaml:7:11: stages.0.data.tokenizer: is of kind bytes, but the weights at "
                  "'source' come from Hugging Face and know the ids of their own tokenizer; data "
                  "that it made ids of go with kind: ids"));
  const auto ids = load(kStages);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_THAT(absl::StrJoin(ids->warnings, "\n"), testing::Not(HasSubstr("tokenizer")));
}

TEST_F(StartOfARecipe, ARunThatGoesOnHasItsModelAndLooksAtNoFolder) {
  copy_fixture("llama");
  const ModelRecipe stored = load(kStages)->recipe.model;
  fs::remove_all("source");
  std::string asked_for;
  const auto resumed = [&](const Recipe& recipe) {
    asked_for = recipe.name;
    return std::optional<ModelRecipe>(stored);
  };
  for (const std::string& text : {std::string(kStages), model_and_stages()}) {
    const auto loaded = load(text, Purpose::kValidate, resumed);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(asked_for, "on");
    EXPECT_EQ(write_model(loaded->recipe.model), write_model(stored));
    EXPECT_THAT(absl::StrJoin(loaded->warnings, "\n"), testing::Not(HasSubstr("init.path")));
  }
  const auto fresh = [](const Recipe&) { return std::optional<ModelRecipe>(); };
  EXPECT_FALSE(load(kStages, Purpose::kValidate, fresh).ok());
}

TEST(CheckpointNames, AreReadAsTheyAreWritten) {
  EXPECT_EQ(checkpoint_name(12), "step-00000012");
  EXPECT_EQ(checkpoint_step("step-00000012"), 12);
  EXPECT_EQ(checkpoint_step(checkpoint_name(1234567890)), 1234567890);
  for (const char* name : {"step-12", "step-", "latest", "step-00000012.tmp", "step--0000012"}) {
    EXPECT_EQ(checkpoint_step(name), -1) << name;
  }
}

}  // namespace
}  // namespace weft
