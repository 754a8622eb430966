// Many prompts at once, for the committed checkpoint of every family: nothing but the time depends
// on how many go together.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/parity/fixture.h"
#include "trainer/generate.h"

namespace weft {
namespace {

// Tokens of each answer: rows become free one by one, and while others go on.
constexpr std::array<size_t, 5> kLengths = {9, 1, 4, 12, 2};

TokenLists five_prompts(const std::string& family) {
  const TokenLists ids = ids_of(family);
  return {ids[0], ids[2], ids[1], slice(ids[2], 0, 3), slice(ids[1], 1, 5)};
}

GenerationOptions options(double temperature, size_t window, int64_t batch) {
  GenerationOptions options;
  options.sampling.temperature = temperature;
  options.max_tokens = 12;
  options.window = static_cast<int64_t>(window);
  options.batch = batch;
  return options;
}

std::vector<Ids> five_answers(const LoadedModel& model, const TokenLists& prompts,
                              GenerationOptions options) {
  std::array<size_t, 5> counts = {};
  options.on_token = [&](size_t index, int64_t) { return ++counts[index] < kLengths[index]; };
  return *generate(*model.model, prompts, options);
}

class Generation : public testing::TestWithParam<DecodingCase> {
 protected:
  // In fp64, so that the last bits of products with several rows decide nothing.
  const LoadedModel model_ = load(GetParam(), ComputeKind::kFp64);
  const TokenLists prompts_ = five_prompts(GetParam().family);
};

TEST_P(Generation, GreedyAnswersOfABatchAreThoseOfRecomputation) {
  for (const size_t window : {longest_text(model_), size_t{5}}) {
    for (const int64_t batch : {1, 2, 3, 5}) {
      const std::vector<Ids> answers = five_answers(model_, prompts_, options(0, window, batch));
      ASSERT_EQ(answers.size(), prompts_.size());
      for (size_t i = 0; i < answers.size(); ++i) {
        EXPECT_EQ(answers[i], greedily_recomputed(*model_.model, prompts_[i], kLengths[i], window))
            << "prompt " << i << ", window " << window << ", batch " << batch;
      }
    }
  }
}

TEST_P(Generation, DrawnAnswersDoNotDependOnTheBatch) {
  for (const size_t window : {longest_text(model_), size_t{5}}) {
    const std::vector<Ids> expected = five_answers(model_, prompts_, options(1.5, window, 1));
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(expected[i].size(), kLengths[i]);
    for (const int64_t batch : {2, 3, 5, 8}) {
      EXPECT_EQ(five_answers(model_, prompts_, options(1.5, window, batch)), expected)
          << "window " << window << ", batch " << batch;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Family, Generation, testing::ValuesIn(kDecodingCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Answers, ComeInTheOrderOfThePromptsAsSoonAsTheyCan) {
  const LoadedModel model = load(fixture("llama"), ComputeKind::kFp64);
  GenerationOptions two = options(1.5, 64, 2);
  std::array<size_t, 5> counts = {};
  std::vector<std::pair<size_t, size_t>> shown;  // the answer, and the tokens of answer 3 by then
  std::vector<Ids> answers;
  two.on_token = [&](size_t index, int64_t) { return ++counts[index] < kLengths[index]; };
  two.on_answer = [&](size_t index, const Ids& answer) {
    shown.emplace_back(index, counts[3]);
    answers.push_back(answer);
    return absl::OkStatus();
  };
  EXPECT_EQ(*generate(*model.model, five_prompts("llama"), two), answers);
  // While prompt 0 gets its 9 tokens, the other row has 1 for prompt 1 and 4 for prompt 2: answer 3
  // begins with the 4th token of prompt 0.
  EXPECT_EQ(shown,
            (std::vector<std::pair<size_t, size_t>>{{0, 6}, {1, 6}, {2, 6}, {3, 12}, {4, 12}}));
}

TEST(Answers, OfNoTokensAreGivenToo) {
  const LoadedModel model = load(fixture("llama"), ComputeKind::kFp64);
  GenerationOptions none = options(0, 64, 2);
  none.max_tokens = 0;
  std::vector<size_t> shown;
  none.on_answer = [&](size_t index, const Ids& answer) {
    shown.push_back(index);
    EXPECT_EQ(answer, Ids{});
    return absl::OkStatus();
  };
  EXPECT_EQ(*generate(*model.model, five_prompts("llama"), none), std::vector<Ids>(5));
  EXPECT_EQ(shown, (std::vector<size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(*generate(*model.model, {}, options(0, 64, 2)), std::vector<Ids>{});
}

TEST(Answers, EndBeforeAnyOfTheEndTokens) {
  const LoadedModel model = load(fixture("llama"), ComputeKind::kFp64);
  const TokenLists prompts = five_prompts("llama");
  const std::vector<Ids> all = *generate(*model.model, prompts, options(1.5, 64, 3));
  GenerationOptions ending = options(1.5, 64, 3);
  ending.end_tokens = {all[0][7], all[3][2]};
  const std::vector<Ids> answers = *generate(*model.model, prompts, ending);
  for (size_t i = 0; i < all.size(); ++i) {
    const auto end = std::find_first_of(all[i].begin(), all[i].end(), ending.end_tokens.begin(),
                                        ending.end_tokens.end());
    EXPECT_EQ(answers[i], Ids(all[i].begin(), end)) << i;
  }
  EXPECT_LE(answers[0].size(), 7u);
  EXPECT_LE(answers[3].size(), 2u);
}

TEST(Answers, EndWithTheErrorOfWhoeverTakesThem) {
  const LoadedModel model = load(fixture("llama"), ComputeKind::kFp64);
  const absl::Status full = run_failure("the disk is full");
  GenerationOptions failing = options(1.5, 64, 2);
  std::vector<size_t> tokens, answers;
  failing.on_token = [&](size_t index, int64_t) {
    tokens.push_back(index);
    return index > 0;
  };
  failing.on_answer = [&](size_t index, const Ids&) {
    answers.push_back(index);
    return full;
  };
  EXPECT_EQ(generate(*model.model, five_prompts("llama"), failing).status(), full);
  EXPECT_EQ(tokens, std::vector<size_t>{0});  // prompt 0 alone has been read
  EXPECT_EQ(answers, std::vector<size_t>{0});
  failing.on_token = [&](size_t index, int64_t) -> absl::StatusOr<bool> {
    tokens.push_back(index);
    return full;
  };
  EXPECT_EQ(generate(*model.model, five_prompts("llama"), failing).status(), full);
  EXPECT_EQ(tokens, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(answers, std::vector<size_t>{0});
}

TEST(Answers, NeedLogitsThatAreNumbers) {
  const TemporaryFolder temporary;
  fs::copy(fixture("llama") / "config.json", temporary.path());
  // The last tensor of the file is the weight of the final norm.
  std::string weights = contents(fixture("llama") / "model.safetensors");
  weights.replace(weights.size() - 4, 4, "\xff\xff\xff\xff");
  write_text(temporary.path() / "model.safetensors", weights);
  const LoadedModel model = load(temporary.path(), ComputeKind::kFp64);
  for (const double temperature : {0.0, 1.0}) {
    const absl::Status status =
        generate(*model.model, five_prompts("llama"), options(temperature, 64, 2)).status();
    EXPECT_EQ(exit_status(status), 1);
    EXPECT_EQ(status.message(), "prompt 1: the logits of token 1 are not finite numbers");
  }
}

TEST(StateSizes, AreOfThePromptsThatGoTogether) {
  const TokenLists prompts = five_prompts("llama");  // the longest has 13 tokens
  const auto size = [&](int64_t batch, std::optional<int64_t> window, int64_t max_tokens) {
    GenerationOptions options;
    options.batch = batch;
    options.window = window;
    options.max_tokens = max_tokens;
    const StateSize size = state_size(prompts, options);
    return std::pair(size.rows, size.capacity);
  };
  EXPECT_EQ(size(8, {}, 7), std::pair(int64_t{5}, int64_t{20}));
  EXPECT_EQ(size(2, 64, 7), std::pair(int64_t{2}, int64_t{20}));
  EXPECT_EQ(size(2, 16, 7), std::pair(int64_t{2}, int64_t{16}));
  EXPECT_EQ(size(2, 16, 0), std::pair(int64_t{0}, int64_t{0}));
}

TEST(Answers, AFullWindowIsWarnedAboutOnce) {
  const LoadedModel model = load(fixture("llama"), ComputeKind::kFp64);
  const TemporaryFolder temporary;
  const fs::path file = temporary.path() / "log.txt";
  Log log(Log::Echo::kNo);
  ASSERT_TRUE(log.attach(file.string()));
  GenerationOptions logged = options(0, 5, 2);
  logged.log = &log;
  ASSERT_EQ(generate(*model.model, five_prompts("llama"), logged).status(), absl::OkStatus());
  EXPECT_THAT(contents(file), testing::MatchesRegex(
                                  "[-0-9T:]+Z warning: window of 5 tokens is full: what is before "
                                  "the last 2 is forgotten, and these are read again\n"));
}

}  // namespace
}  // namespace weft
