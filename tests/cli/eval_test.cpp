// `weft eval` as a user calls it: text and tasks in one command, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/run_fixture.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

class Eval : public RunTest {
 protected:
  void SetUp() override {
    RunTest::SetUp();
    ASSERT_EQ(train({"--stop-after", "1"}).exit_status, 3);
  }
};

TEST_F(Eval, PrintsALineForEachPath) {
  write_text(folder() / "text.jsonl",
             R"({"context": "line", "choices": ["4 of the tale", "é"], "answer": 0})"
             "\n"
             R"({"context": "", "choices": ["A second", "of the tale"], "answer": 1})"
             "\n");
  write_text(folder() / "ids.jsonl",
             R"({"context_ids": [97], "choices_ids": [[98, 99], [256]], "answer": 0})");
  const Outcome outcome = weft({"eval", "run", "text.jsonl", "valid", "ids.jsonl"});
  EXPECT_EQ(outcome.exit_status, 0);
  const std::string share = "=[01]\\.[0-9]{4} ";
  EXPECT_THAT(
      outcome.output,
      MatchesRegex("text.jsonl: acc" + share + "acc_stderr" + share + "acc_norm" + share +
                   "acc_norm_stderr" + share + "acc_bytes" + share + "acc_bytes_stderr" + share +
                   "items=2\n"
                   "valid: loss=.*bytes=2500\n"
                   "ids.jsonl: acc=[01]\\.0000 acc_stderr=n/a acc_norm=n/a "
                   "acc_norm_stderr=n/a acc_bytes=n/a acc_bytes_stderr=n/a items=1\n"));
}

TEST_F(Eval, NothingIsComputedBeforeAllTasksAreRight) {
  write_text(folder() / "wrong.jsonl", R"({"context": "a", "choices": ["b", "c"], "answer": 2})"
                                       "\n[]\n");
  const Outcome outcome = weft({"eval", "run", "valid", "wrong.jsonl"});
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_EQ(outcome.output,
            "wrong.jsonl:1: answer: is 2, must be from 0 to 1, a choice's index\n"
            "wrong.jsonl:2: is a list, must be an object with context, choices and answer\n");
  const Outcome missing = weft({"eval", "run", "valid", "missing.jsonl"});
  EXPECT_EQ(missing.exit_status, 2);
  EXPECT_EQ(missing.output, "missing.jsonl: No such file or directory\n");
}

TEST_F(Eval, AChoiceMustFitTheSequenceLength) {
  write_text(folder() / "task.jsonl",
             R"({"context": "a", "choices": ["long choice", "c"], "answer": 0})");
  const Outcome outcome = weft({"eval", "run", "task.jsonl", "--sequence-length", "8"});
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_EQ(outcome.output,
            "task.jsonl:1: choices.0: has 12 tokens, must have at most 8 (the sequence length)\n");
  EXPECT_EQ(weft({"eval", "run", "task.jsonl", "--sequence-length", "12"}).exit_status, 0);
  EXPECT_THAT(weft({"eval", "--help"}).output, HasSubstr(".jsonl"));
}

TEST_F(Eval, AnEndTokenIsForModelsWithoutATokenizer) {
  const Outcome outcome = weft({"eval", "run", "valid", "--end-id", "256"});
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_EQ(outcome.output,
            "--end-id: goes with a model whose tokenizer weft does not read; this one's tokenizer "
            "says what ends a document\n");
}

}  // namespace
}  // namespace weft
