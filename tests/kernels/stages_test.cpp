#include "models/kernels/cpu/stages.h"

#include <atomic>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <omp.h>

namespace weft::cpu {
namespace {

constexpr int64_t kMuch = 1 << 20, kLittle = 1;  // bytes of a row

class StagesTest : public testing::Test {
 protected:
  ~StagesTest() override { at::set_num_threads(before_); }

 private:
  const int before_ = at::get_num_threads();
};

// How often each row was run.
std::vector<int> runs_of(int64_t rows, int64_t row_bytes) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(rows));
  Stages stages;
  const int64_t threads = Stages::max_threads();
  stages.add(rows, row_bytes, [&](int64_t thread, int64_t begin, int64_t end) {
    EXPECT_LT(thread, threads);
    for (int64_t row = begin; row < end; ++row) ++runs[static_cast<size_t>(row)];
  });
  stages.run();
  return {runs.begin(), runs.end()};
}

TEST_F(StagesTest, EveryRowRunsOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    at::set_num_threads(threads);
    for (const int64_t rows : {0, 1, 2, 63 * threads, 64 * threads - 1, 64 * threads,
                               64 * threads + 1, 1000 * threads + 5}) {
      for (const int64_t bytes : {kLittle, int64_t{3000}, kMuch}) {
        EXPECT_EQ(runs_of(rows, bytes), std::vector<int>(static_cast<size_t>(rows), 1))
            << threads << " threads, " << rows << " rows of " << bytes;
      }
    }
  }
}

TEST_F(StagesTest, EveryRowRunsOnceWithinOtherThreads) {
  at::set_num_threads(3);
  at::parallel_for(0, 3, 1, [](int64_t, int64_t) {
    EXPECT_EQ(Stages::max_threads(), 1);
    EXPECT_EQ(runs_of(1000, kMuch), std::vector<int>(1000, 1));
  });
}

TEST_F(StagesTest, AStageBeginsOnceThoseBeforeItAreDone) {
  for (const int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    for (int repetition = 0; repetition < 200; ++repetition) {
      const std::vector<int64_t> rows = {300, 1, 700, 2, 0, 64};
      std::atomic<int64_t> done{0};
      Stages stages;
      int64_t before = 0;
      for (const int64_t count : rows) {
        stages.add(count, kMuch, [&done, before](int64_t, int64_t begin, int64_t end) {
          EXPECT_GE(done.load(), before);
          done += end - begin;
        });
        before += count;
      }
      stages.run();
      EXPECT_EQ(done.load(), before);
    }
  }
}

TEST_F(StagesTest, LittleWorkStaysOnFewThreads) {
  at::set_num_threads(4);
  for (const int64_t threads : {1, 2}) {
    std::atomic<int64_t> done{0};
    Stages stages;
    for (int stage = 0; stage < 3; ++stage) {
      stages.add(40 * threads, 1000, [&](int64_t thread, int64_t begin, int64_t end) {
        EXPECT_LT(thread, threads);
        done += end - begin;
      });
    }
    stages.run();
    EXPECT_EQ(done.load(), 3 * 40 * threads);
  }
}

// As where OpenMP gives fewer threads than LibTorch asks for.
TEST_F(StagesTest, ASmallerTeamDoesAllTheWork) {
  at::set_num_threads(4);
  const int levels = omp_get_max_active_levels();
  omp_set_max_active_levels(0);
  EXPECT_EQ(Stages::max_threads(), 4);
  EXPECT_EQ(runs_of(1000, kMuch), std::vector<int>(1000, 1));
  EXPECT_EQ(runs_of(3, kMuch), std::vector<int>(3, 1));
  std::vector<int> runs(5 * 700);
  Stages stages;
  for (int stage = 0; stage < 5; ++stage) {
    stages.add(700, kMuch, [&runs, stage](int64_t, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) ++runs[static_cast<size_t>(stage * 700 + row)];
    });
  }
  stages.run();
  EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
  omp_set_max_active_levels(levels);
}

}  // namespace
}  // namespace weft::cpu
