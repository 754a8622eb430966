#include "data/evaluation.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/data/corpus.h"

namespace weft {
namespace {

using test::row_of;
using testing::ElementsAre;

constexpr int64_t kEnd = 256;
constexpr int64_t kNone = kIgnoredTarget;

class Evaluation : public testing::Test {
 protected:
  TokenShards shards(const std::vector<std::vector<int32_t>>& documents) {
    return test::make_shards(folder_.path() / "pair", documents, 3000);
  }

 private:
  test::TemporaryFolder folder_;
};

TEST_F(Evaluation, WindowsOfADocument) {
  const TokenShards text = shards({{1, 2, 3, 4, 5, 256}});
  const EvaluationOrder order(text, 4, 0);
  ASSERT_EQ(order.num_rows(), 2);
  EXPECT_EQ(order.num_targets(), 6);
  const Batch batch = order.rows(0, 2);
  EXPECT_THAT(row_of<int64_t>(batch.tokens, 0), ElementsAre(kEnd, 1, 2, 3));
  EXPECT_THAT(row_of<int64_t>(batch.targets, 0), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(row_of<int64_t>(batch.tokens, 1), ElementsAre(4, 5, 0, 0));
  EXPECT_THAT(row_of<int64_t>(batch.targets, 1), ElementsAre(5, kEnd, kNone, kNone));
  for (int64_t row : {0, 1}) {
    EXPECT_THAT(row_of<int32_t>(batch.documents, row), ElementsAre(0, 0, 0, 0));
    EXPECT_THAT(row_of<int64_t>(batch.positions, row), ElementsAre(0, 1, 2, 3));
  }
  EXPECT_EQ(batch.num_targets, 6);
  EXPECT_EQ(order.text_bytes(batch), 5);
}

TEST_F(Evaluation, ContextIsSeenAgainAndNotScored) {
  const TokenShards text = shards({{1, 2, 3, 4, 5, 6}});
  const EvaluationOrder order(text, 4, 2);
  ASSERT_EQ(order.num_rows(), 3);
  const Batch batch = order.rows(0, 3);
  EXPECT_THAT(row_of<int64_t>(batch.tokens, 1), ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(row_of<int64_t>(batch.targets, 1), ElementsAre(kNone, kNone, 5, 6));
  EXPECT_THAT(row_of<int64_t>(batch.tokens, 2), ElementsAre(4, 5, 6, 0));
  EXPECT_THAT(row_of<int64_t>(batch.targets, 2), ElementsAre(kNone, kNone, kEnd, kNone));
  EXPECT_EQ(batch.num_targets, 7);
}

// For every window and context: each token of each document is scored once, in order, after the
// token before it and with enough context.
TEST_F(Evaluation, EveryTokenIsATargetExactlyOnce) {
  std::vector<std::vector<int32_t>> documents;
  std::vector<int64_t> expected;
  int32_t id = 300;
  for (const int length : {1, 7, 0, 8, 9, 40, 16, 15}) {
    std::vector<int32_t>& document = documents.emplace_back();
    for (int i = 0; i < length; ++i) document.push_back(id++);
    if (length == 0) continue;
    expected.insert(expected.end(), document.begin(), document.end());
    expected.push_back(kEnd);
    document.push_back(kEnd);
  }
  const TokenShards text = shards(documents);
  for (const int64_t length : {1, 2, 7, 8, 16, 64}) {
    for (int64_t context = 0; context < length; ++context) {
      const EvaluationOrder order(text, length, context);
      const Batch all = order.rows(0, order.num_rows());
      std::vector<int64_t> scored;
      for (int64_t row = 0; row < order.num_rows(); ++row) {
        const auto tokens = row_of<int64_t>(all.tokens, row);
        const auto targets = row_of<int64_t>(all.targets, row);
        for (int64_t t = 0; t < length; ++t) {
          if (targets[t] == kNone) continue;
          scored.push_back(targets[t]);
          if (targets[t] != kEnd && tokens[t] != kEnd) {
            ASSERT_EQ(targets[t], tokens[t] + 1);
          }
          if (tokens[0] != kEnd) {
            ASSERT_GE(t, context);
          }
        }
      }
      ASSERT_EQ(scored, expected) << length << " " << context;
      ASSERT_EQ(order.num_targets(), static_cast<int64_t>(expected.size()));
      ASSERT_EQ(all.num_targets, order.num_targets());
      ASSERT_EQ(order.text_bytes(all), text.num_text_bytes());
    }
  }
}

TEST_F(Evaluation, RowsAreTheSameHoweverTheyAreAskedFor) {
  const TokenShards text = shards({{1, 2, 3, 4, 5}, {6, 7}, {8, 9, 10, 11}});
  const EvaluationOrder order(text, 3, 1);
  const Batch all = order.rows(0, order.num_rows());
  for (int64_t row = 0; row < order.num_rows(); ++row) {
    const Batch one = order.rows(row, 1);
    EXPECT_EQ(row_of<int64_t>(one.tokens, 0), row_of<int64_t>(all.tokens, row));
    EXPECT_EQ(row_of<int64_t>(one.targets, 0), row_of<int64_t>(all.targets, row));
  }
}

TEST_F(Evaluation, ALimitTakesTheFirstTargets) {
  const TokenShards text = shards({{1, 2, 3, 4}, {5, 256, 6}, {7}});
  for (int64_t limit = 1; limit < 12; ++limit) {
    const EvaluationOrder order(text, 3, 0, limit);
    std::vector<int64_t> scored;
    const Batch all = order.rows(0, order.num_rows());
    for (int64_t row = 0; row < order.num_rows(); ++row) {
      for (const int64_t target : row_of<int64_t>(all.targets, row)) {
        if (target != kNone) scored.push_back(target);
      }
    }
    std::vector<int64_t> expected = {1, 2, 3, 4, kEnd, 5, kEnd, 6, kEnd, 7, kEnd};
    expected.resize(static_cast<size_t>(std::min<int64_t>(limit, 11)));
    EXPECT_EQ(scored, expected);
    EXPECT_EQ(order.num_targets(), limit);
    EXPECT_EQ(order.text_bytes(all), limit - std::count(expected.begin(), expected.end(), kEnd));
  }
}

TEST_F(Evaluation, NoTextGivesNoRows) {
  const TokenShards text = shards({{256}});
  const EvaluationOrder order(text, 4, 0);
  EXPECT_EQ(order.num_rows(), 0);
  EXPECT_EQ(order.rows(0, 0).num_targets, 0);
}

}  // namespace
}  // namespace weft
