// Prompts and lists of token ids from the command line and from files.
#include "trainer/prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "tests/support/process.h"
#include "trainer/inspect.h"

namespace weft {
namespace {

using testing::StartsWith;

std::string refusal(const std::string& text) {
  const absl::Status status = parse_token_lists(text, "ids.json", 31).status();
  EXPECT_EQ(exit_status(status), status.ok() ? 0 : 2) << text;
  return std::string(status.message());
}

TEST(TokenLists, AreListsOfIdsOfAnyLength) {
  const auto lists = parse_token_lists("[[0, 30], [7], [1,2,3]]", "ids.json", 31);
  ASSERT_TRUE(lists.ok()) << lists.status();
  EXPECT_EQ(*lists, (TokenLists{{0, 30}, {7}, {1, 2, 3}}));
}

TEST(TokenLists, AreRefusedWithTheListAndTheElement) {
  const std::string whole =
      "ids.json: must be a list of lists of token ids, such as [[1, 2, 3], [7]]";
  EXPECT_EQ(refusal("[]"), whole);
  EXPECT_EQ(refusal("{}"), whole);
  EXPECT_EQ(refusal("5"), whole);
  EXPECT_EQ(refusal("[[1], []]"), "ids.json: list 1: must be a list of at least one token id");
  EXPECT_EQ(refusal("[1, 2]"), "ids.json: list 0: must be a list of at least one token id");
  EXPECT_EQ(refusal("[[1], [2, 31]]"),
            "ids.json: list 1: element 1 is 31, must be a token id from 0 to 30");
  EXPECT_EQ(refusal("[[-1]]"),
            "ids.json: list 0: element 0 is -1, must be a token id from 0 to 30");
  EXPECT_EQ(refusal("[[1.0]]"),
            "ids.json: list 0: element 0 is 1.0, must be a token id from 0 to 30");
  EXPECT_EQ(refusal("[[\"a\"]]"),
            "ids.json: list 0: element 0 is \"a\", must be a token id from 0 to 30");
  EXPECT_EQ(refusal("[[null]]"),
            "ids.json: list 0: element 0 is null, must be a token id from 0 to 30");
  EXPECT_EQ(refusal("[[[1]]]"), "ids.json: is nested more than 2 deep");
  EXPECT_THAT(refusal("[[1, 2"), StartsWith("ids.json: is not JSON (byte "));
}

class PromptsTest : public testing::Test {
 protected:
  static LoadedModel load() {
    Log log(Log::Echo::kNo);
    auto model = load_model(WEFT_SOURCE_DIR "/tests/parity/fixtures/llama", DeviceKind::kCpu,
                            ComputeKind::kFp32, log);
    WEFT_CHECK(model.ok(), model.status());
    return *std::move(model);
  }
  fs::path file(const std::string& text) const {
    write_text(folder_.path() / "prompts", text);
    return folder_.path() / "prompts";
  }
  std::string refusal(const std::string& text) const {
    const absl::Status status = read_prompts(model_, file(text)).status();
    EXPECT_EQ(exit_status(status), 2) << text;
    const std::string message(status.message()), name = (folder_.path() / "prompts").string();
    EXPECT_THAT(message, StartsWith(name));
    return message.substr(std::min(message.size(), name.size()));
  }

  const LoadedModel model_ = load();

 private:
  TemporaryFolder folder_;
};

TEST_F(PromptsTest, IdsAreAListOrAFileOfLists) {
  const auto one = id_prompts(model_, "5, 17,3");
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ((*one)[0].tokens, (std::vector<int64_t>{5, 17, 3}));
  EXPECT_EQ((*one)[0].text, "");
  const auto two = id_prompts(model_, file("[[1], [2, 3]]").string());
  ASSERT_TRUE(two.ok()) << two.status();
  ASSERT_EQ(two->size(), 2u);
  EXPECT_EQ((*two)[1].tokens, (std::vector<int64_t>{2, 3}));
}

TEST_F(PromptsTest, WrongIdsAreNamed) {
  EXPECT_EQ(id_prompts(model_, "5,31").status().message(),
            "--ids: list 0: element 1 is 31, must be a token id from 0 to 30");
  EXPECT_EQ(id_prompts(model_, "").status().message(),
            "--ids: list 0: must be a list of at least one token id");
  EXPECT_THAT(std::string(id_prompts(model_, "5,,3").status().message()),
              StartsWith("--ids: is not JSON (byte "));
  EXPECT_THAT(std::string(id_prompts(model_, "absent.json").status().message()),
              StartsWith("absent.json"));
}

TEST_F(PromptsTest, AFileHasAPromptALine) {
  const auto prompts = read_prompts(model_, file("{\"ids\": [1, 2]}\n\n  \r\n{\"ids\": [30]}"));
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  ASSERT_EQ(prompts->size(), 2u);
  EXPECT_EQ((*prompts)[0].tokens, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ((*prompts)[1].tokens, (std::vector<int64_t>{30}));
}

TEST_F(PromptsTest, WrongLinesAreNamed) {
  const std::string either = ": must have \"prompt\" (a text) or \"ids\" (token ids), and not both";
  EXPECT_EQ(refusal("{\"ids\": [1]}\n{}"), ":2" + either);
  EXPECT_EQ(refusal("{\"ids\": [1], \"prompt\": \"a\"}"), ":1" + either);
  EXPECT_EQ(refusal("[1]"), ":1" + either);
  EXPECT_EQ(refusal("\n\n{\"ids\": 5}"), ":3" + either);
  EXPECT_THAT(refusal("{\"ids\": [1]}\n{\"ids\""), StartsWith(":2: is not JSON (byte "));
  EXPECT_EQ(refusal("{\"ids\": [1, 31]}"),
            ":1: list 0: element 1 is 31, must be a token id from 0 to 30");
  EXPECT_EQ(refusal("{\"ids\": []}"), ":1: list 0: must be a list of at least one token id");
  EXPECT_EQ(refusal(""), ": has no prompt");
  EXPECT_EQ(refusal("\n \n"), ": has no prompt");
}

TEST_F(PromptsTest, ATextNeedsATokenizerThatIsNamed) {
  const absl::Status status = text_prompt(model_, "hello").status();
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_EQ(status.message(),
            model_.path +
                ": its tokenizer, tokenizer.json, is not one that weft reads; give token ids "
                "instead of text");
  EXPECT_EQ(refusal("{\"ids\": [1]}\n{\"prompt\": \"hello\"}"),
            ":2: " + std::string(status.message()));
}

TEST_F(PromptsTest, AnAnswerIsALineOfJson) {
  EXPECT_EQ(answer_line(model_, {"", {1}}, {4, 5}, ""), R"({"ids":[4,5]})");
  EXPECT_EQ(answer_line(model_, {"a \"b\"\n", {1}}, {}, ""), R"({"ids":[],"prompt":"a \"b\"\n"})");
}

TEST_F(PromptsTest, SequencesLongerThanLearnedPositionsAreRefused) {
  Log log(Log::Echo::kNo);
  const auto gpt2 = load_model(WEFT_SOURCE_DIR "/tests/parity/fixtures/gpt2", DeviceKind::kCpu,
                               ComputeKind::kFp32, log);
  ASSERT_TRUE(gpt2.ok()) << gpt2.status();
  const TokenLists lists = {std::vector<int64_t>(16, 1), std::vector<int64_t>(17, 1)};
  EXPECT_EQ(check_lengths(*gpt2, lists, "ids.json").message(),
            "ids.json: list 1: has 17 tokens, the model has positions for 16");
  EXPECT_EQ(check_lengths(*gpt2, {lists[0]}, "ids.json"), absl::OkStatus());
  EXPECT_EQ(check_lengths(model_, {std::vector<int64_t>(100, 1)}, "ids.json"), absl::OkStatus());
}

}  // namespace
}  // namespace weft
