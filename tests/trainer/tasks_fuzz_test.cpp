// Damaged task files from a fixed seed: they are refused by name or give items that can be scored.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/support/mutate.h"
#include "tests/support/process.h"
#include "trainer/tasks.h"

namespace weft {
namespace {

constexpr int64_t kVocabSize = 257;
constexpr int64_t kSequenceLength = 24;
constexpr char kValid[] =
    R"({"id": 1, "context": "caf\u00e9 or tea", "choices": ["tea", "café", "both"], "answer": 2})"
    "\n"
    R"({"context_ids": [3, 256, 0], "choices_ids": [[1, 2], [7]], "answer": 0, "meta": [{}]})"
    "\n"
    R"({"context_ids": [], "choices_ids": [[9], [8]], "choices": ["😀", "x"], "answer": 1})"
    "\n";

void expect_scorable(const ChoiceItem& item) {
  const size_t choices = item.choices.size();
  ASSERT_GE(choices, 2u);
  EXPECT_TRUE(0 <= item.answer && item.answer < static_cast<int64_t>(choices));
  EXPECT_TRUE(item.characters.empty() || item.characters.size() == choices);
  ASSERT_EQ(item.bytes.size(), item.characters.size());
  for (size_t i = 0; i < item.bytes.size(); ++i) {
    EXPECT_GE(item.characters[i], 1);
    EXPECT_GE(item.bytes[i], item.characters[i]);
  }
  const auto known = [](int64_t id) { return 0 <= id && id < kVocabSize; };
  EXPECT_TRUE(std::all_of(item.context.begin(), item.context.end(), known));
  for (const std::vector<int64_t>& choice : item.choices) {
    EXPECT_TRUE(!choice.empty() && static_cast<int64_t>(choice.size()) <= kSequenceLength);
    EXPECT_TRUE(std::all_of(choice.begin(), choice.end(), known));
  }
}

TEST(TasksFuzz, MutatedFilesAreRefusedByNameOrScorable) {
  constexpr uint64_t kCases = 20'000;
  const TemporaryFolder folder(fast_folder());
  const fs::path path = folder.path() / "task.jsonl";
  const Tokenizer tokenizer{TokenizerConfig{}};
  const ChoiceOptions options = {.sequence_length = kSequenceLength, .prefix_token = 256};
  uint64_t accepted = 0;
  for (uint64_t i = 0; i < kCases; ++i) {
    const RandomStream stream(i, "fuzz", "tasks");
    std::string text = kValid;
    const uint64_t changes = i == 0 ? 0 : 1 + stream.below(0, 4);
    for (uint64_t change = 1; change <= changes; ++change) mutate(text, stream, change);
    fs::remove(path);
    write_text(path, text);
    const auto items = read_choice_tasks(path, tokenizer, kVocabSize, options);
    if (items.ok()) {
      ++accepted;
      ASSERT_FALSE(items->empty());
      for (const ChoiceItem& item : *items) expect_scorable(item);
    } else {
      EXPECT_EQ(exit_status(items.status()), 2);
      EXPECT_TRUE(std::string(items.status().message()).starts_with(path.string() + ":"));
    }
    if (i == 0) {
      EXPECT_EQ(accepted, 1u);
    }
  }
  // Changes inside of a text or a number, or between members, are no damage.
  EXPECT_GT(accepted, kCases / 50);
  EXPECT_LT(accepted, kCases / 2);
}

}  // namespace
}  // namespace weft
