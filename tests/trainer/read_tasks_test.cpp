// Files of multiple-choice items: what is read from them, and each complaint.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/support/process.h"
#include "trainer/tasks.h"

namespace weft {
namespace {

class ReadTasks : public testing::Test {
 protected:
  fs::path path() const { return folder_.path() / "task.jsonl"; }

  absl::StatusOr<std::vector<ChoiceItem>> read(const std::string& text) const {
    fs::remove(path());
    write_text(path(), text);
    return read_choice_tasks(path(), tokenizer_, vocab_size_, options_);
  }

  std::vector<ChoiceItem> items(const std::string& text) const {
    auto result = read(text);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : std::vector<ChoiceItem>();
  }

  // The message without the folder of the file.
  std::string problem(const std::string& text) const {
    const auto result = read(text);
    EXPECT_EQ(exit_status(result.status()), 2);
    std::string message(result.status().message());
    const std::string folder = folder_.path().string() + "/";
    for (size_t at = 0; (at = message.find(folder, at)) != std::string::npos;) {
      message.erase(at, folder.size());
    }
    return message;
  }

  TemporaryFolder folder_{fast_folder()};
  absl::StatusOr<Tokenizer> tokenizer_ = Tokenizer(TokenizerConfig{});
  int64_t vocab_size_ = 257;
  ChoiceOptions options_ = {.sequence_length = 32, .prefix_token = 256};
};

using Ids = std::vector<int64_t>;

TEST_F(ReadTasks, TextBecomesTokensAndTheContinuationBeginsWithASpace) {
  const auto read = items(
      "{\"context\": \"Hi\", \"choices\": [\"a\", \"bc\"], \"answer\": 1, \"id\": {\"n\": [7]}}\r\n"
      "\n"
      "{\"context\": \"\", \"choices\": [\"x\", \"y\", \" z\"], \"answer\": 0}");
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].context, (Ids{'H', 'i'}));
  EXPECT_EQ(read[0].choices, (std::vector<Ids>{{' ', 'a'}, {' ', 'b', 'c'}}));
  EXPECT_EQ(read[0].characters, (Ids{1, 2}));
  EXPECT_EQ(read[0].bytes, (Ids{1, 2}));
  EXPECT_EQ(read[0].answer, 1);
  EXPECT_EQ(read[1].context, Ids{});
  EXPECT_EQ(read[1].choices[2], (Ids{' ', ' ', 'z'}));
  EXPECT_EQ(read[1].characters, (Ids{1, 1, 2}));
  EXPECT_EQ(read[1].answer, 0);
}

TEST_F(ReadTasks, CharactersAreCodePoints) {
  const auto read = items(R"({"context": "é", "choices": ["é€😀", "\u00e9\ud83d\ude00", "e)"
                          "\u0301"
                          R"("], "answer": 0})");
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].characters, (Ids{3, 2, 2}));
  EXPECT_EQ(read[0].bytes, (Ids{9, 6, 3}));
  EXPECT_EQ(read[0].context, (Ids{0xc3, 0xa9}));
  EXPECT_EQ(read[0].choices[1].size(), 1u + 6u);
}

TEST_F(ReadTasks, IdsNeedNoTokenizerAndTextsBesideThemGiveLengths) {
  tokenizer_ = bad_input("no tokenizer; give token ids instead of text");
  const auto read = items(R"({"context_ids": [5, 256], "choices_ids": [[1], [2, 3]], "answer": 1})"
                          "\n"
                          R"({"context_ids": [], "choices_ids": [[1], [2]], )"
                          R"("choices": ["één", "two"], "answer": 0})");
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].context, (Ids{5, 256}));
  EXPECT_EQ(read[0].choices, (std::vector<Ids>{{1}, {2, 3}}));
  EXPECT_TRUE(read[0].characters.empty());
  EXPECT_TRUE(read[0].bytes.empty());
  EXPECT_EQ(read[1].choices, (std::vector<Ids>{{1}, {2}}));
  EXPECT_EQ(read[1].characters, (Ids{3, 3}));
  EXPECT_EQ(read[1].bytes, (Ids{5, 3}));
}

TEST_F(ReadTasks, TextWithoutATokenizerIsRefused) {
  tokenizer_ = bad_input("no tokenizer; give token ids instead of text");
  EXPECT_EQ(problem(R"({"context": "a", "choices": ["b", "c"], "answer": 0})"),
            "task.jsonl:1: context: no tokenizer; give token ids instead of text: context_ids and "
            "choices_ids");
}

TEST_F(ReadTasks, WhatIsNoObjectIsNamedByLineAndByte) {
  EXPECT_EQ(problem(""), "task.jsonl: has no items");
  EXPECT_EQ(problem("\n \r\n"), "task.jsonl: has no items");
  EXPECT_EQ(problem("\n{\"context\": }"), "task.jsonl:2: is not JSON (byte 13)");
  EXPECT_EQ(problem("{} {}"), "task.jsonl:1: is not JSON (byte 4)");
  EXPECT_EQ(problem("{\"context\": \"a\xff\"}"), "task.jsonl:1: is not UTF-8 (byte 15)");
  EXPECT_EQ(problem(R"({"answer": 0, "answer": 1})"), "task.jsonl:1: has 'answer' twice");
  EXPECT_EQ(problem("[1]"),
            "task.jsonl:1: is a list, must be an object with context, choices and answer");
  EXPECT_EQ(problem("null"),
            "task.jsonl:1: is null, must be an object with context, choices and answer");
  EXPECT_EQ(problem("{\"id\": " + std::string(40, '[') + "}"),
            "task.jsonl:1: is nested more than 32 deep");
}

TEST_F(ReadTasks, WrongTextItemsAreRefused) {
  EXPECT_EQ(problem("{}"),
            "task.jsonl:1: context: is missing, must be a text\n"
            "task.jsonl:1: choices: is missing, must be a list of at least 2 texts\n"
            "task.jsonl:1: answer: is missing, must be a choice's index");
  EXPECT_EQ(problem(R"({"context": 3, "choices": "ab", "answer": -1})"),
            "task.jsonl:1: context: is 3, must be a text\n"
            "task.jsonl:1: choices: is a text, must be a list of at least 2 texts\n"
            "task.jsonl:1: answer: is -1, must be a choice's index");
  EXPECT_EQ(problem(R"({"context": "a", "choices": ["b"], "answer": 0})"),
            "task.jsonl:1: choices: has 1, must have at least 2 texts");
  EXPECT_EQ(problem(R"({"context": "a", "choices": ["b", "", 1.5, {}], "answer": 0})"),
            "task.jsonl:1: choices.1: is empty, must have a character\n"
            "task.jsonl:1: choices.2: is 1.5, must be a text\n"
            "task.jsonl:1: choices.3: is an object, must be a text");
}

TEST_F(ReadTasks, TheAnswerIsTheIndexOfAChoice) {
  const auto with_answer = [&](const std::string& answer) {
    return problem(R"({"context": "a", "choices": ["b", "c", "d"], "answer": )" + answer + "}");
  };
  const std::string allowed = ", must be from 0 to 2, a choice's index";
  EXPECT_EQ(with_answer("3"), "task.jsonl:1: answer: is 3" + allowed);
  EXPECT_EQ(with_answer("-1"), "task.jsonl:1: answer: is -1" + allowed);
  EXPECT_EQ(with_answer("1.0"), "task.jsonl:1: answer: is 1.0" + allowed);
  EXPECT_EQ(with_answer("true"), "task.jsonl:1: answer: is true" + allowed);
  EXPECT_EQ(with_answer("\"b\""), "task.jsonl:1: answer: is a text" + allowed);
  EXPECT_EQ(with_answer("18446744073709551615"),
            "task.jsonl:1: answer: is 18446744073709551615" + allowed);
}

TEST_F(ReadTasks, WrongIdsAreRefused) {
  EXPECT_EQ(problem(R"({"choices_ids": [[1], [2]], "answer": 0})"),
            "task.jsonl:1: context_ids: is missing, must be a list of token ids");
  EXPECT_EQ(problem(R"({"context_ids": "1", "choices": ["b", "c"], "answer": 0})"),
            "task.jsonl:1: context_ids: is a text, must be a list of token ids\n"
            "task.jsonl:1: choices_ids: is missing, must be a list of at least 2 lists of token "
            "ids");
  const std::string allowed = ", must be from 0 to 256 (the vocabulary)";
  EXPECT_EQ(problem(R"({"context_ids": [0, 257, 258], )"
                    R"("choices_ids": [[1, -1], [true], 4, [], [[]], [2]], "answer": 6})"),
            "task.jsonl:1: context_ids.1: is 257" + allowed +
                "\ntask.jsonl:1: choices_ids.0.1: is -1" + allowed +
                "\ntask.jsonl:1: choices_ids.1.0: is true" + allowed +
                "\ntask.jsonl:1: choices_ids.2: is 4, must be a list of token ids"
                "\ntask.jsonl:1: choices_ids.3: is empty, must have a token"
                "\ntask.jsonl:1: choices_ids.4.0: is a list" +
                allowed + "\ntask.jsonl:1: answer: is 6, must be from 0 to 5, a choice's index");
}

TEST_F(ReadTasks, TextsBesideIdsMustFitThem) {
  const auto beside = [&](const std::string& members) {
    return problem(R"({"context_ids": [1], "choices_ids": [[1], [2]], "answer": 0, )" + members +
                   "}");
  };
  EXPECT_EQ(beside(R"("context": "a")"),
            "task.jsonl:1: context: stands beside token ids; an item has all text or all ids");
  EXPECT_EQ(beside(R"("choices": ["a", "b", "c"])"),
            "task.jsonl:1: choices: has 3 texts, must have 2 as choices_ids has");
  EXPECT_EQ(beside(R"("choices": ["a"])"),
            "task.jsonl:1: choices: has 1, must have at least 2 texts");
  EXPECT_EQ(beside(R"("choices": ["a", ""])"),
            "task.jsonl:1: choices.1: is empty, must have a character");
}

TEST_F(ReadTasks, WhatCannotBeScoredIsRefused) {
  options_ = {.sequence_length = 3, .prefix_token = -1};
  EXPECT_EQ(problem(R"({"context": "", "choices": ["ab", "abc"], "answer": 0})"),
            "task.jsonl:1: context: is empty, must have a token (the model has none that begins a "
            "text)\n"
            "task.jsonl:1: choices.1: has 4 tokens, must have at most 3 (the sequence length)");
  EXPECT_EQ(problem(R"({"context_ids": [], "choices_ids": [[1], [1, 2, 3, 4]], "answer": 0})"),
            "task.jsonl:1: context_ids: is empty, must have a token (the model has none that "
            "begins a text)\n"
            "task.jsonl:1: choices_ids.1: has 4 tokens, must have at most 3 (the sequence length)");
  vocab_size_ = 100;
  EXPECT_EQ(problem(R"({"context": "z", "choices": ["a", "y"], "answer": 0})"),
            "task.jsonl:1: context: has token id 122, must be from 0 to 99 (the vocabulary)\n"
            "task.jsonl:1: choices.1: has token id 121, must be from 0 to 99 (the vocabulary)");
}

TEST_F(ReadTasks, TenProblemsAreShownAndTheOthersCounted) {
  const auto lines = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "7\n";
    return text;
  };
  const auto shown = [](const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(shown(problem(lines(10))), 9);
  EXPECT_TRUE(problem(lines(11)).ends_with("and answer\nand 1 more problem"));
  const std::string many = problem(lines(12) + R"({"context": "a", "choices": ["b", "c"]})");
  EXPECT_TRUE(
      many.ends_with("task.jsonl:10: is 7, must be an object with context, choices and "
                     "answer\nand 3 more problems"))
      << many;
}

TEST_F(ReadTasks, AFileThatCannotBeReadIsNamed) {
  const auto missing = read_choice_tasks("no/such.jsonl", tokenizer_, 257, options_);
  EXPECT_EQ(exit_status(missing.status()), 2);
  EXPECT_EQ(missing.status().message(), "no/such.jsonl: No such file or directory");
  const auto folder = read_choice_tasks(folder_.path(), tokenizer_, 257, options_);
  EXPECT_EQ(folder.status().message(), folder_.path().string() + ": is not a regular file");
}

}  // namespace
}  // namespace weft
