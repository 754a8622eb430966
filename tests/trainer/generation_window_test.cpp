// How many tokens a model sees at once while it generates, what memory they take, and where its
// answers end.
#include "trainer/generation_window.h"

#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipes/available_memory.h"
#include "tests/support/process.h"
#include "trainer/convert.h"

namespace weft {
namespace {

using testing::MatchesRegex;
using testing::StartsWith;
using Ids = std::vector<int64_t>;

fs::path fixture(const std::string& family) {
  return fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
}

absl::StatusOr<LoadedModel> load(const fs::path& folder) {
  Log log(Log::Echo::kNo);
  return load_model(folder.string(), DeviceKind::kCpu, ComputeKind::kFp32, log);
}

LoadedModel loaded(const std::string& family) {
  absl::StatusOr<LoadedModel> model = load(fixture(family));
  WEFT_CHECK(model.ok(), model.status());
  return *std::move(model);
}

std::vector<Prompt> prompts_of(const std::vector<size_t>& sizes) {
  std::vector<Prompt> prompts;
  for (const size_t size : sizes) prompts.push_back({"", Ids(size, 1)});
  return prompts;
}

// What check_window says: of what it gives back, and of what it logs.
struct Said {
  std::string refusal, warnings;
};
Said check(const LoadedModel& model, std::optional<int64_t> window,
           const std::vector<size_t>& sizes) {
  const TemporaryFolder temporary;
  Log log(Log::Echo::kNo);
  WEFT_CHECK(log.attach((temporary.path() / "log.txt").string()), "no log");
  const absl::Status status = check_window(model, window, prompts_of(sizes), log);
  EXPECT_EQ(exit_status(status), status.ok() ? 0 : 2);
  return {std::string(status.message()), contents(temporary.path() / "log.txt")};
}

TEST(GenerationWindow, IsWhatTheModelIsMadeForUnlessAnotherIsAsked) {
  EXPECT_EQ(generation_window(loaded("llama"), {}), 64);
  EXPECT_EQ(generation_window(loaded("llama"), 100), 100);
  EXPECT_EQ(generation_window(loaded("gpt2"), {}), 16);
  EXPECT_EQ(generation_window(loaded("jamba"), {}), 64);
}

TEST(GenerationWindow, IsNotNeededWithoutAttention) {
  for (const char* family : {"mamba", "mamba2"}) {
    const LoadedModel model = loaded(family);
    EXPECT_EQ(generation_window(model, {}), std::nullopt);
    EXPECT_EQ(generation_window(model, 8), 8);
    const Said said = check(model, {}, {5000});
    EXPECT_EQ(said.refusal + said.warnings, "");
  }
}

TEST(GenerationWindow, OfAllLearnedPositionsRefusesALongerPrompt) {
  const LoadedModel model = loaded("gpt2");
  EXPECT_EQ(check(model, 16, {16, 1}).refusal, "");
  EXPECT_EQ(check(model, 16, {16, 17, 18}).refusal,
            "prompt 2: has 17 tokens, the window is 16, all the positions that the model has");
  EXPECT_EQ(check(model, 17, {1}).refusal, "--window: is 17, the model has positions for 16");
}

TEST(GenerationWindow, ThatCouldBeAnotherWarnsOfALongerPrompt) {
  const std::string line = "[-0-9T:]+Z warning: prompt ";
  const Said llama = check(loaded("llama"), 64, {64, 65, 1, 100});
  EXPECT_EQ(llama.refusal, "");
  EXPECT_THAT(llama.warnings,
              MatchesRegex(line +
                           "2: has 65 tokens, of which the window reads the last 64 "
                           "\\(--window sets it\\)\n" +
                           line +
                           "4: has 100 tokens, of which the window reads the last 64 "
                           "\\(--window sets it\\)\n"));
  const Said gpt2 = check(loaded("gpt2"), 8, {20});
  EXPECT_EQ(gpt2.refusal, "");
  EXPECT_THAT(gpt2.warnings, MatchesRegex(line + "1: has 20 tokens, of which the window reads the "
                                                 "last 8 \\(--window sets it\\)\n"));
}

TEST(StateMemory, ThatIsNotThereIsRefused) {
  const LoadedModel llama = loaded("llama");
  EXPECT_EQ(check_state_memory(llama, {.rows = 8, .capacity = 64}), absl::OkStatus());
  // 2 layers of a key and a value of 4 numbers in fp32: 64 bytes a token.
  const absl::Status status =
      check_state_memory(llama, {.rows = 4096, .capacity = int64_t{1} << 30});
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_EQ(status.message(),
            absl::StrFormat("--window, --max-tokens, --batch: 4096 prompts at once with room for "
                            "1073741824 tokens each need 262144.0 GiB of memory beside 0.0 GiB of "
                            "weights, this machine has %.1f GiB",
                            static_cast<double>(available_memory(at::kCPU)) / (1 << 30)));
}

TEST(StateMemory, OfScansIsTheSameForEveryLength) {
  const StateSize size = {.rows = 8, .capacity = int64_t{1} << 40};
  EXPECT_EQ(check_state_memory(loaded("mamba"), size), absl::OkStatus());
  EXPECT_EQ(check_state_memory(loaded("mamba2"), size), absl::OkStatus());
}

// A copy of the llama fixture, whose config.json has end 2, with another generation_config.json.
class EndIds : public testing::Test {
 protected:
  EndIds() { fs::copy(fixture("llama"), folder()); }
  fs::path folder() const { return temporary_.path() / "llama"; }
  fs::path file() const { return folder() / "generation_config.json"; }

  Ids ends(const std::string& generation_config) const {
    write_text(file(), generation_config);
    const absl::StatusOr<LoadedModel> model = load(folder());
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *model->end_ids : Ids{};
  }
  std::string refusal(const std::string& generation_config) const {
    write_text(file(), generation_config);
    const absl::StatusOr<LoadedModel> model = load(folder());
    EXPECT_TRUE(model.ok()) << model.status();
    const absl::Status status = model.ok() ? model->end_ids.status() : model.status();
    EXPECT_EQ(exit_status(status), 2) << generation_config;
    return std::string(status.message());
  }

  const TemporaryFolder temporary_;
};

TEST_F(EndIds, AreAllOfGenerationConfig) {
  EXPECT_EQ(ends(R"({"eos_token_id": 7})"), (Ids{7}));
  EXPECT_EQ(ends(R"({"eos_token_id": [9, 7, 8]})"), (Ids{9, 7, 8}));
  EXPECT_EQ(ends(R"({"eos_token_id": [-1, 7]})"), (Ids{7}));
}

TEST_F(EndIds, AreThoseOfConfigWhereItNamesNone) {
  EXPECT_EQ(ends("{}"), (Ids{2}));
  EXPECT_EQ(ends(R"({"eos_token_id": null})"), (Ids{2}));
  fs::remove(file());
  EXPECT_EQ(*load(folder())->end_ids, (Ids{2}));
  EXPECT_EQ(*loaded("openelm").end_ids, Ids{});
}

TEST_F(EndIds, ComeAlongWithAnImport) {
  write_text(file(), R"({"eos_token_id": [9, 7]})");
  Log log(Log::Echo::kNo);
  const fs::path imported = temporary_.path() / "imported";
  ASSERT_EQ(import_checkpoint(folder(), imported, log), absl::OkStatus());
  const absl::StatusOr<LoadedModel> model = load(imported);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(*model->end_ids, (Ids{9, 7}));
}

// Where they are asked for: the model is there without them.
TEST_F(EndIds, OfAnotherTypeAreRefused) {
  const std::string must = ", must be a token id or a list of them";
  EXPECT_EQ(refusal(R"({"eos_token_id": "x"})"),
            file().string() + ": eos_token_id: is \"x\"" + must);
  EXPECT_EQ(refusal(R"({"eos_token_id": [1, 2.5]})"),
            file().string() + ": eos_token_id: is [1,2.5]" + must);
  EXPECT_THAT(refusal("{"), StartsWith(file().string() + ": is not JSON (byte "));
}

TEST_F(EndIds, OfAnImportAreNamedWithTheFileThatHoldsThemThere) {
  write_text(file(), R"({"eos_token_id": "x"})");
  Log log(Log::Echo::kNo);
  const fs::path imported = temporary_.path() / "imported";
  ASSERT_EQ(import_checkpoint(folder(), imported, log), absl::OkStatus());
  const absl::StatusOr<LoadedModel> model = load(imported);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->end_ids.status().message(),
            (imported / "huggingface.generation_config.json").string() +
                ": eos_token_id: is \"x\", must be a token id or a list of them");
}

}  // namespace
}  // namespace weft
