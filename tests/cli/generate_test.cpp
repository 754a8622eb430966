// `weft generate` as a user calls it, on Hugging Face folders: prompts, windows, ends, refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/run_fixture.h"

namespace weft {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using Ids = std::vector<int64_t>;

class Generate : public RunTest {
 protected:
  void SetUp() override {
    const fs::path fixtures = fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures";
    for (const char* family : {"gpt2", "llama", "mamba"}) {
      fs::copy(fixtures / family, folder() / family);
    }
  }

  // Always the most likely token, in fp64: the same on every machine.
  Outcome generate(const std::string& model, std::vector<std::string> more) const {
    std::vector<std::string> command = {"generate", model,           "--compute",
                                        "fp64",     "--temperature", "0"};
    command.insert(command.end(), more.begin(), more.end());
    return weft(command);
  }

  // The ids that a single prompt prints.
  Ids tokens(const std::string& model, std::vector<std::string> more) const {
    const Outcome outcome = generate(model, std::move(more));
    EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
    EXPECT_THAT(outcome.output, EndsWith("\n"));
    std::istringstream text(outcome.output);
    Ids ids;
    for (int64_t id = 0; text >> id;) ids.push_back(id);
    EXPECT_TRUE(text.eof()) << outcome.output;
    return ids;
  }

  static std::string listed(const Ids& ids) {
    std::string text;
    for (const int64_t id : ids) {
      if (!text.empty()) text += ',';
      text += std::to_string(id);
    }
    return text;
  }

  static size_t count(const std::string& text, const std::string& part) {
    size_t found = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
      ++found;
    }
    return found;
  }
};

TEST_F(Generate, ATextNeedsATokenizerThatIsNamed) {
  const std::string rest = ", is not one that weft reads; give token ids instead of text\n";
  const std::vector<std::vector<std::string>> texts = {
      {"--prompt", "hello"}, {}, {"--ids", "1,2", "--stop", "end"}};
  for (const std::vector<std::string>& arguments : texts) {
    const Outcome outcome = generate("llama", arguments);
    EXPECT_EQ(outcome.exit_status, 2);
    EXPECT_EQ(outcome.output, "llama: its tokenizer, tokenizer.json" + rest);
  }
  write_text(folder() / "llama" / "tokenizer.model", "any");
  EXPECT_EQ(generate("llama", {"--prompt", "hello"}).output,
            "llama: its tokenizer, llama/tokenizer.model" + rest);
  write_text(folder() / "prompts.jsonl", "{\"ids\": [1]}\n{\"prompt\": \"hello\"}\n");
  const Outcome line = generate("llama", {"--prompts", "prompts.jsonl"});
  EXPECT_EQ(line.exit_status, 2);
  EXPECT_EQ(line.output, "prompts.jsonl:2: llama: its tokenizer, llama/tokenizer.model" + rest);
}

TEST_F(Generate, TokenIdsAlwaysWork) {
  EXPECT_EQ(generate("llama", {"--ids", "1,2,3", "--max-tokens", "8"}).output,
            "8 17 27 12 19 4 4 4 \n");
  write_text(folder() / "ids.json", "[[1, 2, 3]]");
  EXPECT_EQ(tokens("llama", {"--ids", "ids.json", "--max-tokens", "3"}), (Ids{8, 17, 27}));
  const Outcome wrong = generate("llama", {"--ids", "1,31"});
  EXPECT_EQ(wrong.exit_status, 2);
  EXPECT_EQ(wrong.output, "--ids: list 0: element 1 is 31, must be a token id from 0 to 30\n");
}

// Before a model is even looked for.
TEST_F(Generate, AFileThatIsNotThereIsRefusedFirst) {
  for (const char* flag : {"--ids", "--prompts"}) {
    const Outcome absent = generate("nowhere", {flag, "absent.json"});
    EXPECT_EQ(absent.exit_status, 2);
    EXPECT_EQ(absent.output, "absent.json: No such file or directory\n");
    const Outcome empty = generate("nowhere", {flag, ""});
    EXPECT_EQ(empty.exit_status, 2);
    EXPECT_THAT(empty.output, HasSubstr(std::string(flag) + ": is empty"));
  }
}

TEST_F(Generate, TheRepetitionPenaltyReachesTheTokens) {
  const Ids answer =
      tokens("llama", {"--ids", "1,2,3", "--max-tokens", "8", "--repetition-penalty", "100"});
  EXPECT_EQ(answer, (Ids{8, 17, 27, 12, 19, 4, 15, 9}));
}

TEST_F(Generate, AStopStringEndsTheTextAndIsNotPrinted) {
  RunTest::SetUp();  // the texts and the recipe of a run
  ASSERT_EQ(train().exit_status, 0);
  const auto text = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--prompt", "line ", "--max-tokens", "24"});
    const Outcome outcome = generate("run", more);
    EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
    return outcome.output;
  };
  const std::string whole = text({});  // the prompt, the answer, a newline
  ASSERT_GT(whole.size(), 12u) << whole;
  const std::string stop = whole.substr(8, 2);
  const size_t first = whole.find(stop, 5);
  EXPECT_EQ(text({"--stop", stop}), whole.substr(0, first) + "\n");
}

TEST_F(Generate, WhatIsNoNumberIsRefused) {
  for (const char* flag : {"--temperature", "--top-p", "--min-p", "--repetition-penalty"}) {
    const Outcome outcome = generate("llama", {"--ids", "1,2", flag, "nan"});
    EXPECT_EQ(outcome.exit_status, 2) << flag;
    EXPECT_THAT(outcome.output, HasSubstr(std::string(flag) + ": Value nan is not a number"));
  }
}

// Jamba v0.1 at 256K: 4 layers of 8 heads of 128 keys and values, and 28 scans of 8192 channels
// with 16 states in fp32 and 3 inputs, in bf16.
TEST_F(Generate, InfoSaysWhatAContextTakes) {
  const Outcome outcome =
      weft({"info", WEFT_SOURCE_DIR "/configs/models/jamba-v0.1.yaml", "--context", "262144"});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_EQ(outcome.output,
            "decoding state of one sequence of 262,144 tokens in bf16:\n"
            "  keys and values      4096.000 MiB\n"
            "  scans                  15.312 MiB\n"
            "  total                4111.312 MiB\n");
}

TEST_F(Generate, ManyPromptsAreAnsweredInTheirOrder) {
  const std::vector<Ids> prompts = {{1, 2, 3}, {7}, {30, 0, 30, 0, 5, 9}, {4, 4}, {28, 6, 11}};
  std::string lines;
  for (const Ids& prompt : prompts) lines += json{{"ids", prompt}}.dump() + "\n";
  write_text(folder() / "prompts.jsonl", lines);
  std::string expected;
  for (const Ids& prompt : prompts) {
    const Ids answer = tokens("llama", {"--ids", listed(prompt), "--max-tokens", "9"});
    expected += json{{"ids", answer}}.dump() + "\n";
  }
  for (const char* batch : {"1", "2", "3", "8"}) {
    const Outcome outcome =
        generate("llama", {"--prompts", "prompts.jsonl", "--max-tokens", "9", "--batch", batch});
    EXPECT_EQ(outcome.exit_status, 0);
    EXPECT_EQ(outcome.output, expected) << batch;
  }
}

TEST_F(Generate, APromptLongerThanLearnedPositionsIsRefused) {
  const Outcome one = generate("gpt2", {"--ids", listed(Ids(17, 5))});
  EXPECT_EQ(one.exit_status, 2);
  EXPECT_THAT(one.output, EndsWith("prompt 1: has 17 tokens, the window is 16, all the positions "
                                   "that the model has\n"));
  write_text(folder() / "prompts.jsonl",
             "{\"ids\": [1]}\n" + json{{"ids", Ids(20, 5)}}.dump() + "\n");
  const Outcome second = generate("gpt2", {"--prompts", "prompts.jsonl"});
  EXPECT_EQ(second.exit_status, 2);
  EXPECT_THAT(second.output, EndsWith("prompt 2: has 20 tokens, the window is 16, all the "
                                      "positions that the model has\n"));
  EXPECT_THAT(second.output, Not(HasSubstr("{\"ids\"")));
  const Outcome window = generate("gpt2", {"--ids", "1", "--window", "17"});
  EXPECT_EQ(window.exit_status, 2);
  EXPECT_THAT(window.output, EndsWith("--window: is 17, the model has positions for 16\n"));
}

TEST_F(Generate, AnyOtherWindowReadsTheLastTokensAndSaysSo) {
  const Ids prompt = {9, 8, 7, 6, 5, 4, 3, 30, 1, 21};
  const Outcome cut =
      generate("llama", {"--ids", listed(prompt), "--window", "4", "--max-tokens", "1"});
  EXPECT_EQ(cut.exit_status, 0);
  const Ids next = tokens("llama", {"--ids", "3,30,1,21", "--max-tokens", "1"});
  EXPECT_EQ(cut.output,
            "warning: prompt 1: has 10 tokens, of which the window reads the last 4 (--window sets "
            "it)\n" +
                listed(next) + " \n");
  const Outcome full =
      generate("llama", {"--ids", "1,2,3", "--window", "4", "--max-tokens", "9", "--past-end"});
  EXPECT_EQ(full.exit_status, 0);
  EXPECT_EQ(count(full.output,
                  "warning: window of 4 tokens is full: what is before the last 2 is forgotten, "
                  "and these are read again\n"),
            1u);
  EXPECT_EQ(count(full.output, "warning"), 1u);
  // 64 tokens are what config.json says that the model is made for.
  const std::vector<std::string> longer = {"--ids", listed(Ids(70, 5)), "--max-tokens", "2"};
  EXPECT_THAT(generate("llama", longer).output,
              HasSubstr("warning: prompt 1: has 70 tokens, of which the window reads the last 64"));
  std::vector<std::string> raised = longer;
  raised.insert(raised.end(), {"--window", "72"});
  EXPECT_THAT(generate("llama", raised).output, Not(HasSubstr("warning")));
}

TEST_F(Generate, AModelWithoutAttentionHasNoWindow) {
  write_text(folder() / "long.json", json::array({Ids(3000, 5)}).dump());
  EXPECT_EQ(tokens("mamba", {"--ids", "long.json", "--max-tokens", "4", "--past-end"}).size(), 4u);
}

TEST_F(Generate, EndsAtAnyEndId) {
  const std::vector<std::string> arguments = {"--ids", "1,2,3", "--max-tokens", "8"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), more.begin(), more.end());
    return tokens("llama", all);
  };
  ASSERT_EQ(with({}), (Ids{8, 17, 27, 12, 19, 4, 4, 4}));
  EXPECT_EQ(with({"--end-id", "12"}), (Ids{8, 17, 27}));
  EXPECT_EQ(with({"--end-id", "4", "--end-id", "17"}), (Ids{8}));
  write_text(folder() / "llama" / "generation_config.json", R"({"eos_token_id": [19, 27, 30]})");
  EXPECT_EQ(with({}), (Ids{8, 17}));
  EXPECT_EQ(with({"--end-id", "19"}), (Ids{8, 17, 27, 12}));
  EXPECT_EQ(with({"--past-end"}), (Ids{8, 17, 27, 12, 19, 4, 4, 4}));
  const Outcome wrong = generate("llama", {"--ids", "1", "--end-id", "31"});
  EXPECT_EQ(wrong.exit_status, 2);
  EXPECT_EQ(wrong.output, "--end-id: is 31, must be a token id from 0 to 30\n");
  const Outcome both = generate("llama", {"--ids", "1", "--past-end", "--end-id", "19"});
  EXPECT_EQ(both.exit_status, 2);
  EXPECT_THAT(both.output, HasSubstr("--end-id excludes --past-end\n"));
}

TEST_F(Generate, AWrongEndOfTheModelStopsOnlyWhoNeedsIt) {
  write_text(folder() / "llama" / "generation_config.json", R"({"eos_token_id": "x"})");
  const Outcome needed = generate("llama", {"--ids", "1,2,3"});
  EXPECT_EQ(needed.exit_status, 2);
  EXPECT_EQ(needed.output,
            "llama/generation_config.json: eos_token_id: is \"x\", must be a token id or a list of "
            "them\n");
  EXPECT_EQ(tokens("llama", {"--ids", "1,2,3", "--max-tokens", "8", "--end-id", "12"}),
            (Ids{8, 17, 27}));
  EXPECT_EQ(tokens("llama", {"--ids", "1,2,3", "--max-tokens", "2", "--past-end"}), (Ids{8, 17}));
}

TEST_F(Generate, AStateBeyondTheMemoryIsRefused) {
  std::string prompts;
  for (int i = 0; i < 4096; ++i) prompts += "{\"ids\": [1]}\n";
  write_text(folder() / "prompts.jsonl", prompts);
  const Outcome outcome =
      generate("llama", {"--prompts", "prompts.jsonl", "--batch", "4096", "--max-tokens",
                         "1073741824", "--window", "1073741824"});
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output,
              MatchesRegex("--window, --max-tokens, --batch: 4096 prompts at once with room for "
                           "1073741824 tokens each need 524288\\.0 GiB of memory beside 0\\.0 GiB "
                           "of weights, this machine has [0-9]+\\.[0-9] GiB\n"));
}

TEST_F(Generate, LogitsThatAreNoNumbersAreAFailure) {
  const fs::path file = folder() / "llama" / "model.safetensors";
  std::string weights = contents(file);
  weights.replace(weights.size() - 4, 4, "\xff\xff\xff\xff");  // of the final norm
  write_text(file, weights);
  for (const char* temperature : {"0", "0.8"}) {
    const Outcome outcome =
        weft({"generate", "llama", "--ids", "1,2", "--temperature", temperature});
    EXPECT_EQ(outcome.exit_status, 1) << temperature;
    EXPECT_EQ(outcome.output, "prompt 1: the logits of token 1 are not finite numbers\n")
        << temperature;
  }
}

}  // namespace
}  // namespace weft
