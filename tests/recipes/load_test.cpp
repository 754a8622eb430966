#include "recipes/load.h"

#include "absl/strings/str_join.h"
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "recipes/validate.h"
#include "tests/recipes/broken_recipes.h"
#include "tests/support/process.h"

namespace weft {
namespace {

std::string edited(const std::string& from, const std::string& to) {
  std::string text = kGoodRecipe;
  return text.replace(text.find(from), from.size(), to);
}

class LoadRecipe : public testing::Test {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    fs::current_path(folder_.path());
    write_text(folder_.path() / "train.txt", "text");
    write_text(folder_.path() / "valid.txt", "text");
  }
  void TearDown() override { fs::current_path(before_); }

  absl::StatusOr<LoadedRecipe> load(const std::string& text, const Use& use,
                                    const std::vector<std::string>& sets = {}) {
    write_text(folder_.path() / "r.yaml", text);
    return load_recipe("r.yaml", sets, use);
  }

 private:
  TemporaryFolder folder_;
  fs::path before_;
};

TEST_F(LoadRecipe, FillsWhatFollowsFromOtherParts) {
  const auto loaded = load(kGoodRecipe, Purpose::kTrain);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Recipe& recipe = loaded->recipe;
  EXPECT_EQ(*recipe.model.vocab_size, 257);
  EXPECT_EQ(*recipe.model.num_heads, 1);
  EXPECT_EQ(*recipe.stages[0].micro_batch_tokens, 256);
  EXPECT_FALSE(recipe.threads.has_value());
  EXPECT_EQ(recipe.device, DeviceKind::kAuto);
  EXPECT_EQ(recipe.precision.compute, ComputeKind::kAuto);
}

TEST_F(LoadRecipe, AbsentDataIsAWarningToValidate) {
  const std::string text = edited("path: valid.txt", "path: absent.txt");
  EXPECT_FALSE(load(text, Purpose::kTrain).ok());
  const auto loaded = load(text, Purpose::kValidate);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(absl::StrJoin(loaded->warnings, "\n"),
            "r.yaml:15:39: stages.0.data.validation.0.path: 'absent.txt' does not exist");
}

TEST_F(LoadRecipe, TooLittleMemoryIsAWarningToValidate) {
  const auto loaded =
      load(edited("hidden_size: 64", "hidden_size: 1000000"), Purpose::kValidate, {"device=cpu"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->warnings.size(), 1u);
  EXPECT_EQ(loaded->warnings[0].rfind("r.yaml:4:3: model: training needs ", 0), 0u)
      << loaded->warnings[0];
}

// Of another machine: its memory is given, its GPU and its units may be absent here.
TEST_F(LoadRecipe, ValidatesForAnotherMachine) {
  const std::string large = edited("hidden_size: 64", "hidden_size: 4096");
  const auto warnings = [&](double gib) {
    const Use use{Purpose::kValidate, static_cast<int64_t>(gib * (1 << 30))};
    const auto loaded = load(large, use, {"device=cuda"});
    WEFT_CHECK(loaded.ok(), loaded.status());
    std::string all;
    int without_gpu = 0;
    for (const std::string& warning : loaded->warnings) {
      const bool is_gpu = warning.find("device: is cuda, but there is no GPU") != std::string::npos;
      if (is_gpu) {
        ++without_gpu;
      } else {
        all += warning;
      }
    }
    EXPECT_EQ(without_gpu, at::hasCUDA() ? 0 : 1);
    return all;
  };
  EXPECT_EQ(warnings(1000), "");
  EXPECT_EQ(warnings(1).rfind("r.yaml:4:3: model: training needs ", 0), 0U) << warnings(1);
  EXPECT_NE(warnings(1).find(" of memory, 1.0 GiB is given; "), std::string::npos) << warnings(1);
  const auto here = load(edited("seed: 1", "seed: 1\ndevice: cuda"), Purpose::kTrain);
  EXPECT_EQ(here.ok(), at::hasCUDA());
}

TEST_F(LoadRecipe, TakesWindowsLineEndsAndAByteOrderMark) {
  std::string text = "\xEF\xBB\xBF";
  for (const char c : std::string(kGoodRecipe)) text += c == '\n' ? "\r\n" : std::string(1, c);
  const auto loaded = load(text, Purpose::kTrain);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->recipe.name, "broken");
}

TEST_F(LoadRecipe, TakesIntegersInEveryExactForm) {
  for (const char* written : {"1000", "+1000", "1e3", "1.0e3", "1000.0"}) {
    const auto loaded =
        load(edited("steps: 10", std::string("steps: ") + written), Purpose::kTrain);
    ASSERT_TRUE(loaded.ok()) << written << ": " << loaded.status();
    EXPECT_EQ(loaded->recipe.stages[0].steps, 1000) << written;
  }
}

TEST_F(LoadRecipe, ReadsEveryShippedRecipe) {
  int count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(WEFT_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    const auto loaded = load_recipe(entry.path(), {}, Purpose::kValidate);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    ++count;
  }
  EXPECT_GT(count, 0);
}

TEST(ParseRecipe, NeedsNeitherFilesNorMemory) {
  const auto recipe = parse_recipe(edited("hidden_size: 64", "hidden_size: 1000000"), "stored");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->model.hidden_size, 1000000);
}

TEST(ParseRecipe, NamesItsSourceInMessages) {
  const auto recipe = parse_recipe(edited("seed: 1", "seed: -1"), "step-00000010/recipe.yaml");
  EXPECT_EQ(recipe.status().message(),
            "step-00000010/recipe.yaml:2:7: seed: is -1, must be from 0 to 9e+15");
}

// Expected: the largest divisor of batch_tokens / sequence_length with at most 8192 tokens.
TEST(Resolve, MicroBatchesDivideTheBatch) {
  const struct {
    int64_t sequence_length, batch_tokens, expected;
  } cases[] = {{1024, 8192, 8192},      {1024, 1024 * 12, 6144}, {1024, 1024 * 7, 7168},
               {1024, 1024 * 11, 1024}, {16384, 65536, 16384},   {1, 8192 * 3, 8192}};
  for (const auto& c : cases) {
    Recipe recipe;
    recipe.model.hidden_size = 64;
    recipe.stages.resize(1);
    recipe.stages[0].sequence_length = c.sequence_length;
    recipe.stages[0].batch_tokens = c.batch_tokens;
    resolve(recipe);
    EXPECT_EQ(*recipe.stages[0].micro_batch_tokens, c.expected)
        << c.batch_tokens << " / " << c.sequence_length;
  }
}

}  // namespace
}  // namespace weft
