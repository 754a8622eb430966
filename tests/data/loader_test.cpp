#include "data/loader.h"

#include <chrono>
#include <thread>

#include "gtest/gtest.h"

#include "tests/data/corpus.h"

namespace weft {
namespace {

using test::row_of;

class LoaderTest : public testing::Test {
 protected:
  SequenceOrder order(int64_t length = 16) {
    std::vector<int32_t> document;
    for (int32_t i = 0; i < 3000; ++i) document.push_back(i * 7 % 256);
    const fs::path prefix = folder_.path() / ("pair" + std::to_string(pairs_++));
    std::vector<DataSource> sources;
    sources.push_back({"pair", 1.0, test::make_shards(prefix, {document, document})});
    return SequenceOrder(std::move(sources), length, 1, "main");
  }

 private:
  test::TemporaryFolder folder_;
  int pairs_ = 0;
};

TEST_F(LoaderTest, GivesTheRowsOfEachStepInMicroBatches) {
  const SequenceOrder expected = order();
  Loader loader(order(), 7, 3, 20, 35);
  for (int64_t step = 20; step < 35; ++step) {
    const std::vector<Batch> batches = loader.next();
    ASSERT_EQ(batches.size(), 3u);
    int64_t row = step * 7;
    for (const Batch& batch : batches) {
      const int64_t rows = batch.tokens.size(0);
      ASSERT_EQ(rows, &batch == &batches.back() ? 1 : 3);
      const Batch same = expected.rows(row, rows);
      EXPECT_TRUE(batch.tokens.equal(same.tokens)) << "step " << step;
      EXPECT_TRUE(batch.targets.equal(same.targets));
      EXPECT_TRUE(batch.documents.equal(same.documents));
      EXPECT_TRUE(batch.positions.equal(same.positions));
      EXPECT_EQ(batch.num_targets, rows * 16);
      row += rows;
    }
  }
}

TEST_F(LoaderTest, EndsEarlyAtAnyPoint) {
  for (int taken = 0; taken < 12; ++taken) {
    Loader loader(order(), 4, 2, 0, 1'000'000'000);
    for (int i = 0; i < taken; ++i) loader.next();
    if (taken % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const Loader of_no_steps(order(), 4, 2, 5, 5);
}

// A stop in the midst of a step that would take minutes.
TEST_F(LoaderTest, EndsEarlyInsideALongStep) {
  const auto start = std::chrono::steady_clock::now();
  { const Loader loader(order(), int64_t{1} << 40, 1, 0, 10); }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST_F(LoaderTest, WhatTheThreadThrowsIsThrownByNext) {
  // The bytes of so many rows do not fit into 64 bits.
  Loader loader(order(), int64_t{1} << 62, int64_t{1} << 62, 0, 10);
  EXPECT_THROW(loader.next(), std::exception);
}

TEST_F(LoaderTest, AskingPastTheEndIsAProgrammerError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // the loader's thread does not survive a fork
  Loader loader(order(), 4, 4, 0, 1);
  loader.next();
  EXPECT_DEATH(loader.next(), "step 1 of 1");
}

}  // namespace
}  // namespace weft
