#include "trainer/run_metrics.h"

#include <numbers>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/flops.h"
#include "tests/support/process.h"

namespace weft {
namespace {

using testing::HasSubstr;

class RunMetricsTest : public testing::Test {
 protected:
  static constexpr int kSteps = 5;

  RunMetricsTest() {
    ModelRecipe& model = recipe_.model;
    model.family = Family::kJamba;
    model.hidden_size = 16;
    model.num_layers = 4;
    model.num_heads = 2;
    model.vocab_size = 257;
    model.moe.num_experts = 3;
    resolve(model);
    config_ = build_config(model);
    recipe_.stages.resize(1);
    recipe_.stages[0].steps = kSteps;
    recipe_.stages[0].sequence_length = 32;
    recipe_.stages[0].batch_tokens = 64;
    recipe_.logging.every_steps = 2;
    EXPECT_TRUE(log_.attach(folder_.path() / "log.txt"));
  }

  RunMetrics open(const RunDirectory& directory, int64_t step) {
    auto metrics = RunMetrics::open(recipe_, config_, runtime_, directory, {.step = step}, log_);
    WEFT_CHECK(metrics.ok(), metrics.status());
    return *std::move(metrics);
  }
  RunDirectory directory() const {
    auto opened = RunDirectory::open(folder_.path() / "run");
    WEFT_CHECK(opened.ok(), opened.status());
    return *std::move(opened);
  }
  void train(RunMetrics& metrics, int first, int last) {
    for (int step = first; step <= last; ++step) {
      const StepResult result{.loss = 6.0 - step,
                              .penalty = 0.125,
                              .aux_loss = 0.25,
                              .grad_norm = 1.5,
                              .targets = 64,
                              .expert_load = {1.125, 1.25}};
      const TrainingState state{.step = step, .tokens = 64 * step, .skipped = 1};
      ASSERT_TRUE(metrics.step(state, result, 0.001 * step, recipe_.stages[0]).ok());
    }
  }
  std::vector<nlohmann::json> rows() const {
    std::vector<nlohmann::json> parsed;
    std::istringstream lines(contents(folder_.path() / "run" / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      parsed.push_back(nlohmann::json::parse(line));
    }
    return parsed;
  }

  TemporaryFolder folder_;
  Recipe recipe_;
  ModelConfig config_;
  Runtime runtime_{.types = {at::kFloat, at::kFloat, at::kCPU}};
  Log log_{Log::Echo::kNo};
};

TEST_F(RunMetricsTest, ARowEveryLoggedUpdateAndOneForTheLast) {
  const RunDirectory run = directory();
  RunMetrics metrics = open(run, 0);
  train(metrics, 1, kSteps);
  const std::vector<nlohmann::json> all = rows();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["step"], 2);
  EXPECT_EQ(all[1]["step"], 4);
  EXPECT_EQ(all[2]["step"], 5);
  EXPECT_EQ(all[1]["tokens"], 256);
  EXPECT_EQ(all[1]["loss"], 2.0);
  EXPECT_EQ(all[1]["aux_loss"], 0.25);
  EXPECT_FALSE(all[1].contains("penalty"));
  EXPECT_EQ(all[1]["learning_rate"], 0.004);
  EXPECT_EQ(all[1]["grad_norm"], 1.5);
  EXPECT_EQ(all[1]["skipped"], 1);
}

TEST_F(RunMetricsTest, APenaltyIsLoggedWhereThereIsOne) {
  recipe_.loss.z_loss = 1e-4;
  const RunDirectory run = directory();
  RunMetrics metrics = open(run, 0);
  train(metrics, 1, 2);
  EXPECT_EQ(rows().at(0)["penalty"], 0.125);
}

TEST_F(RunMetricsTest, TheLoadOfExpertsStandsUnderTheNumberOfTheirLayer) {
  const RunDirectory run = directory();
  RunMetrics metrics = open(run, 0);
  train(metrics, 1, 2);
  const nlohmann::json row = rows().at(0);  // layers 1 and 3 have experts
  EXPECT_EQ(row["moe.1.max_load"], 1.125);
  EXPECT_EQ(row["moe.3.max_load"], 1.25);
  EXPECT_FALSE(row.contains("moe.0.max_load"));
}

TEST_F(RunMetricsTest, SpeedsAreOfTheUpdatesSinceTheLastRow) {
  const RunDirectory run = directory();
  RunMetrics metrics = open(run, 0);
  train(metrics, 1, 4);
  for (const nlohmann::json& row : rows()) {
    const double tokens_per_s = row["tokens_per_s"];
    EXPECT_NEAR(row["step_ms"].get<double>() * tokens_per_s, 1e3 * 64, 1e-6 * 1e3 * 64);
    EXPECT_DOUBLE_EQ(row["model_flops_per_s"],
                     tokens_per_s * 3 * forward_flops_per_token(config_, 32));
    EXPECT_GT(row["peak_share"].get<double>(), 0);
    EXPECT_GT(row["memory_bytes"].get<int64_t>(), 1 << 20);
  }
}

TEST_F(RunMetricsTest, AValidationIsARowWithTheNameOfItsSource) {
  const RunDirectory run = directory();
  RunMetrics metrics = open(run, 0);
  const Evaluation result{.nll_sum = 200 * std::numbers::ln2, .targets = 110, .text_bytes = 100};
  ASSERT_TRUE(metrics.validation({.step = 4, .tokens = 256}, "plays", result).ok());
  const nlohmann::json row = rows().at(0);
  EXPECT_EQ(row["step"], 4);
  EXPECT_EQ(row["tokens"], 256);
  EXPECT_DOUBLE_EQ(row["validation.plays.bits_per_byte"], 2.0);
  EXPECT_DOUBLE_EQ(row["validation.plays.loss"], result.loss());
  EXPECT_DOUBLE_EQ(row["validation.plays.perplexity"], result.perplexity());
  EXPECT_THAT(contents(folder_.path() / "log.txt"), HasSubstr("bits_per_byte=2"));
}

TEST_F(RunMetricsTest, ASecondProcessAddsToTheRowsAndOpensAnEventFileOfItsOwn) {
  for (const int first : {1, 3}) {
    const RunDirectory run = directory();
    RunMetrics metrics = open(run, first - 1);
    train(metrics, first, first + 1);
  }
  ASSERT_EQ(rows().size(), 2u);
  EXPECT_EQ(rows()[1]["step"], 4);
  std::string events;
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder_.path() / "run" / "tensorboard")) {
    events += contents(entry.path());
    ++files;
  }
  EXPECT_EQ(files, 2);
  for (const char* tag : {"loss", "learning_rate", "moe.1.max_load", "recipe"}) {
    EXPECT_THAT(events, HasSubstr(tag));
  }
}

TEST_F(RunMetricsTest, WithoutTensorBoardThereIsNoFolderForIt) {
  recipe_.logging.tensorboard = false;
  const RunDirectory run = directory();
  RunMetrics metrics = open(run, 0);
  train(metrics, 1, 2);
  EXPECT_EQ(rows().size(), 1u);
  EXPECT_FALSE(fs::exists(folder_.path() / "run" / "tensorboard"));
}

}  // namespace
}  // namespace weft
