#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "data/loader.h"
#include "tests/data/corpus.h"

namespace weft {
namespace {

using test::row_of;
using Row = std::vector<int64_t>;

constexpr int64_t kEnd = 256;
constexpr int64_t kVocab = 60000;

// Documents whose tokens are all different, so that every token says where it comes from.
class Order : public testing::Test {
 protected:
  // A pair of documents of these lengths, ids counted up from `first_id`, each closed by kEnd.
  TokenShards numbered(const std::vector<int32_t>& lengths, int32_t first_id = 1000) {
    std::vector<std::vector<int32_t>> documents;
    for (const int32_t length : lengths) {
      std::vector<int32_t>& document = documents.emplace_back();
      for (int32_t i = 0; i < length; ++i) document.push_back(first_id++);
      document.push_back(kEnd);
    }
    const fs::path prefix = folder_.path() / ("pair" + std::to_string(pairs_++));
    return test::make_shards(prefix, documents, kVocab);
  }
  SequenceOrder single(TokenShards shards, int64_t length, uint64_t seed = 1,
                       const std::string& stage = "main") {
    std::vector<DataSource> sources;
    sources.push_back({"pair", 1.0, std::move(shards)});
    return SequenceOrder(std::move(sources), length, seed, stage);
  }

 private:
  test::TemporaryFolder folder_;
  int pairs_ = 0;
};

std::vector<Row> token_rows(const SequenceOrder& order, int64_t first, int64_t count) {
  const Batch batch = order.rows(first, count);
  std::vector<Row> rows;
  for (int64_t row = 0; row < count; ++row) rows.push_back(row_of<int64_t>(batch.tokens, row));
  return rows;
}

TEST_F(Order, RowsAreTheSameHoweverTheyAreAskedFor) {
  const SequenceOrder order = single(numbered({50, 7, 120, 33, 1}), 16);
  const SequenceOrder other = single(numbered({50, 7, 120, 33, 1}), 16);
  const Batch all = order.rows(0, 60);
  for (const int64_t first : {59, 0, 31, 13, 12, 58}) {
    const Batch one = other.rows(first, 1);
    EXPECT_EQ(row_of<int64_t>(one.tokens, 0), row_of<int64_t>(all.tokens, first));
    EXPECT_EQ(row_of<int64_t>(one.targets, 0), row_of<int64_t>(all.targets, first));
    EXPECT_EQ(row_of<int32_t>(one.documents, 0), row_of<int32_t>(all.documents, first));
    EXPECT_EQ(row_of<int64_t>(one.positions, 0), row_of<int64_t>(all.positions, first));
  }
  EXPECT_EQ(all.num_targets, 60 * 16);
  EXPECT_EQ(order.rows(3, 0).tokens.size(0), 0);
}

TEST_F(Order, ThreadsMayReadAtOnce) {
  const SequenceOrder order = single(numbered({50, 7, 120, 33}), 16);
  const std::vector<Row> expected = token_rows(order, 0, 200);
  std::vector<std::thread> threads;
  std::vector<int> equal(3, 0);
  for (int& result : equal) {
    threads.emplace_back([&] { result = token_rows(order, 0, 200) == expected; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(equal, testing::Each(1));
}

// 8 documents of 23 tokens and an end each: 192 tokens, 12 sequences of 16, nothing left over.
TEST_F(Order, AnEpochHoldsEveryTokenOnceAsInputAndAsTarget) {
  const SequenceOrder order = single(numbered(std::vector<int32_t>(8, 23)), 16);
  for (const int64_t first : {0, 12, 24}) {
    const Batch epoch = order.rows(first, 12);
    std::map<int64_t, int> inputs;
    std::map<int64_t, int> targets;
    for (int64_t row = 0; row < 12; ++row) {
      for (const int64_t id : row_of<int64_t>(epoch.tokens, row)) ++inputs[id];
      for (const int64_t id : row_of<int64_t>(epoch.targets, row)) ++targets[id];
    }
    ASSERT_EQ(inputs.size(), 8u * 23 + 1);
    for (const auto& [id, times] : inputs) EXPECT_EQ(times, id == kEnd ? 8 : 1) << id;
    EXPECT_EQ(inputs, targets);
  }
}

TEST_F(Order, WhatIsLeftOverIsShorterThanASequenceAndDiffersBetweenEpochs) {
  const SequenceOrder order = single(numbered({99}), 30);  // 100 tokens: 3 sequences, 10 left
  std::set<std::set<int64_t>> left;
  for (int64_t epoch = 0; epoch < 8; ++epoch) {
    std::set<int64_t> seen;
    for (const Row& row : token_rows(order, 3 * epoch, 3)) seen.insert(row.begin(), row.end());
    EXPECT_EQ(seen.size(), 90u);
    left.insert(seen);
  }
  EXPECT_GT(left.size(), 4u);
}

TEST_F(Order, DocumentsStartWithTheEndIdAndEveryTargetIsTheNextToken) {
  const SequenceOrder order = single(numbered({5, 2, 9, 1, 14, 3}), 12);
  const Batch batch = order.rows(0, 40);
  bool inner_start = false;
  for (int64_t r = 0; r < 40; ++r) {
    const Row tokens = row_of<int64_t>(batch.tokens, r);
    const Row targets = row_of<int64_t>(batch.targets, r);
    const Row positions = row_of<int64_t>(batch.positions, r);
    const auto documents = row_of<int32_t>(batch.documents, r);
    int32_t document = 0;
    int64_t position = 0;
    for (size_t t = 0; t < tokens.size(); ++t, ++position) {
      if (t > 0) {
        EXPECT_EQ(tokens[t], targets[t - 1]);
      }
      if (t > 0 && tokens[t] == kEnd) {
        inner_start = true;
        ++document;
        position = 0;
      }
      EXPECT_EQ(documents[t], document);
      EXPECT_EQ(positions[t], position);
      const bool inside = tokens[t] != kEnd && targets[t] != kEnd;
      if (inside) {
        EXPECT_EQ(targets[t], tokens[t] + 1);
      }
    }
  }
  EXPECT_TRUE(inner_start);
}

// The first text token of each document is the target of an end id, its last has one as target.
TEST_F(Order, BoundariesOfDocumentsAreWholeWhateverTheCut) {
  const SequenceOrder order = single(numbered({4, 4, 4}), 5);  // 15 tokens, 3 sequences
  std::set<int64_t> firsts;
  std::set<int64_t> lasts;
  const Batch batch = order.rows(0, 3);
  for (int64_t r = 0; r < 3; ++r) {
    const Row tokens = row_of<int64_t>(batch.tokens, r);
    const Row targets = row_of<int64_t>(batch.targets, r);
    for (size_t t = 0; t < tokens.size(); ++t) {
      if (tokens[t] == kEnd) firsts.insert(targets[t]);
      if (targets[t] == kEnd) lasts.insert(tokens[t]);
    }
  }
  EXPECT_EQ(firsts, (std::set<int64_t>{1000, 1004, 1008}));
  EXPECT_EQ(lasts, (std::set<int64_t>{1003, 1007, 1011}));
}

TEST_F(Order, ClosingEndIdsMakeNoDifference) {
  std::vector<std::vector<int32_t>> open_documents = {{1, 2, 3}, {}, {4, 5}, {6}};
  std::vector<std::vector<int32_t>> closed_documents = {{1, 2, 3, 256}, {4, 5, 256}, {6, 256}};
  const test::TemporaryFolder folder;
  const auto open = single(test::make_shards(folder.path() / "open", open_documents), 4);
  const auto closed = single(test::make_shards(folder.path() / "closed", closed_documents), 4);
  EXPECT_EQ(token_rows(open, 0, 30), token_rows(closed, 0, 30));
}

TEST_F(Order, DocumentsWithoutTextAreLeftOut) {
  const test::TemporaryFolder folder;
  const auto order = single(test::make_shards(folder.path() / "pair", {{256}, {1, 256}, {256}}), 2);
  for (const Row& row : token_rows(order, 0, 10)) {
    EXPECT_TRUE(row == Row({kEnd, 1}) || row == Row({1, kEnd}));
  }
}

// One long document: neighbours in a batch must not be neighbours in the text.
TEST_F(Order, SequencesAreShuffled) {
  const SequenceOrder order = single(numbered({6399}), 16);  // 400 sequences
  const std::vector<Row> rows = token_rows(order, 0, 400);
  int follows = 0;
  double distance = 0;
  for (size_t r = 1; r < rows.size(); ++r) {
    follows += rows[r].front() == rows[r - 1].back() + 1;
    distance += std::abs(static_cast<double>(rows[r].back() - rows[r - 1].back())) / 6400;
  }
  EXPECT_LT(follows, 8);                     // 1 is expected
  EXPECT_NEAR(distance / 399, 1 / 3., .05);  // mean distance of random places; deviation 0.012
}

TEST_F(Order, DocumentsAreShuffled) {
  const SequenceOrder order = single(numbered(std::vector<int32_t>(200, 15)), 3200);
  const Row stream = token_rows(order, 0, 1).at(0);
  std::vector<int64_t> starts;
  for (size_t t = 0; t + 1 < stream.size(); ++t) {
    if (stream[t] == kEnd) starts.push_back(stream[t + 1]);
  }
  ASSERT_GE(starts.size(), 199u);
  int follows = 0;
  for (size_t i = 1; i < starts.size(); ++i) follows += starts[i] == starts[i - 1] + 15;
  EXPECT_LT(follows, 8);
}

TEST_F(Order, EpochsSeedsAndStagesEachHaveTheirOwnOrder) {
  const auto rows = [&](uint64_t seed, const std::string& stage, int64_t first) {
    return token_rows(single(numbered(std::vector<int32_t>(8, 23)), 16, seed, stage), first, 12);
  };
  const std::vector<Row> base = rows(1, "main", 0);
  EXPECT_EQ(base, rows(1, "main", 0));
  EXPECT_NE(base, rows(1, "main", 12));
  EXPECT_NE(base, rows(2, "main", 0));
  EXPECT_NE(base, rows(1, "decay", 0));
}

TEST_F(Order, ASourceShorterThanASequenceGoesRound) {
  const SequenceOrder order = single(numbered({2, 1}), 12);  // 5 tokens
  for (const Row& row : token_rows(order, 0, 6)) {
    for (size_t t = 5; t < row.size(); ++t) EXPECT_EQ(row[t], row[t - 5]);
    EXPECT_EQ(std::set<int64_t>(row.begin(), row.end()),
              (std::set<int64_t>{kEnd, 1000, 1001, 1002}));
  }
}

TEST_F(Order, SourcesAreMixedByWeight) {
  std::vector<DataSource> sources;
  sources.push_back({"a", 3.0, numbered({500}, 1000)});
  sources.push_back({"b", 1.0, numbered({40}, 5000)});
  const SequenceOrder order(std::move(sources), 10, 1, "main");
  std::map<bool, int> rows;
  for (const Row& row : token_rows(order, 0, 400)) ++rows[row[0] >= 5000 || row[1] >= 5000];
  EXPECT_EQ(rows[false], 300);
  EXPECT_EQ(rows[true], 100);
}

TEST_F(Order, FarRowsTakeNoLongerThanNearOnes) {
  const SequenceOrder order = single(numbered({50, 7, 120}), 16);
  EXPECT_EQ(order.rows(int64_t{1} << 40, 2).num_targets, 32);
}

}  // namespace
}  // namespace weft
