// `weft eval` on Hugging Face folders: token shards, tasks of ids, and what needs a tokenizer.
#include "data/shards.h"
#include "tests/cli/hf_fixture.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

class EvalHf : public HfTest {
 protected:
  // Two documents of 40 and 3 tokens, the second closed by the end token.
  void SetUp() override {
    copy("llama");
    std::vector<int32_t> document = {1};  // bos_token_id
    for (int32_t i = 0; i < 39; ++i) document.push_back((11 * i + 5) % 28 + 3);
    auto writer = TokenShardsWriter::create(path("shards"), 31);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_EQ(writer->add_document(document), absl::OkStatus());
    ASSERT_EQ(writer->add_document(std::vector<int32_t>{1, 5, 2}), absl::OkStatus());
    ASSERT_EQ(writer->finish(), absl::OkStatus());
  }
  std::string evaluated(std::vector<std::string> more) const {
    more.insert(more.begin(), {"eval", "llama", "--device", "cpu", "--compute", "fp32"});
    const Outcome outcome = weft(more);
    EXPECT_EQ(outcome.exit_status, 0);
    return outcome.output;
  }
};

// 41 targets of the first document, its end among them, and 3 of the second.
TEST_F(EvalHf, TokensHaveALossAndAPerplexityButNoBytes) {
  const std::string line = "loss=[0-9]+\\.[0-9]{6} perplexity=[0-9]+\\.[0-9]{4}";
  const std::string usual = evaluated({"shards"});
  EXPECT_THAT(usual, MatchesRegex("shards: " + line + " tokens=44\n"));
  // Another end token is another text: one more target in the second document, whose 2 is no end.
  const std::string other = evaluated({"shards", "--end-id", "0"});
  EXPECT_THAT(other, MatchesRegex("shards: " + line + " tokens=45\n"));
  // The model is made for 64 tokens, so that is the length by default.
  EXPECT_EQ(evaluated({"shards", "--sequence-length", "64"}), usual);
  EXPECT_NE(evaluated({"shards", "--sequence-length", "8"}), usual);
}

TEST_F(EvalHf, EndTokensOutOfTheVocabularyAreRefused) {
  expect_refused({"eval", "llama", "shards", "--end-id", "31"},
                 "--end-id: is 31, must be a token id from 0 to 30");
  EXPECT_THAT(weft({"eval", "llama", "shards", "--end-id", "-1"}).output, HasSubstr("--end-id: "));
  write_text(path("task.jsonl"),
             R"({"context_ids": [1, 7], "choices_ids": [[8, 9], [5]], "answer": 0})");
  expect_refused({"eval", "llama", "task.jsonl", "--end-id", "9999"},
                 "--end-id: is 9999, must be a token id from 0 to 30");
  fs::remove(path("llama") / "generation_config.json");
  Json config = json_of("llama/config.json");
  config["eos_token_id"] = 40;
  write_text(path("llama") / "config.json", config.dump());
  expect_refused({"eval", "llama", "shards"},
                 "eos_token_id: is 40, must be a token id from 0 to 30");
  config["eos_token_id"] = nullptr;
  write_text(path("llama") / "config.json", config.dump());
  expect_refused({"eval", "llama", "shards"},
                 "shards: needs --end-id, the token that ends a document: the model's "
                 "configuration has no eos_token_id");
  EXPECT_THAT(evaluated({"shards", "--end-id", "2"}), HasSubstr(" tokens=44\n"));
}

TEST_F(EvalHf, AWrongEndOfTheModelStopsOnlyWhatNeedsIt) {
  const std::string usual = evaluated({"shards"});
  write_text(path("llama") / "generation_config.json", R"({"eos_token_id": [2, 2.5]})");
  expect_refused({"eval", "llama", "shards"},
                 "llama/generation_config.json: eos_token_id: is [2,2.5], must be a token id or a "
                 "list of them");
  EXPECT_EQ(evaluated({"shards", "--end-id", "2"}), usual);
  write_text(path("task.jsonl"),
             R"({"context_ids": [1, 7], "choices_ids": [[8, 9], [5]], "answer": 0})");
  EXPECT_THAT(evaluated({"task.jsonl"}), HasSubstr(" items=1\n"));
}

TEST_F(EvalHf, TextNeedsATokenizer) {
  write_text(path("text.txt"), "some text");
  expect_refused({"eval", "llama", "text.txt"},
                 "text.txt: llama: its tokenizer, tokenizer.json, is not one that weft reads; give "
                 "token ids instead of text");
}

TEST_F(EvalHf, NothingIsPutBeforeTheContextOfATask) {
  write_text(path("task.jsonl"),
             R"({"context_ids": [1, 7], "choices_ids": [[8, 9], [5]], "answer": 0})");
  EXPECT_THAT(evaluated({"task.jsonl"}),
              MatchesRegex("task.jsonl: acc=[01]\\.0000 acc_stderr=n/a acc_norm=n/a "
                           "acc_norm_stderr=n/a acc_bytes=n/a acc_bytes_stderr=n/a items=1\n"));
  write_text(path("empty.jsonl"),
             R"({"context_ids": [], "choices_ids": [[8, 9], [5]], "answer": 0})");
  expect_refused({"eval", "llama", "empty.jsonl"},
                 "empty.jsonl:1: context_ids: is empty, must have a token (the model has none that "
                 "begins a text)");
}

}  // namespace
}  // namespace weft
