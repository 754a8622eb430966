#include "models/kernels/cpu/tasks.h"

#include <atomic>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace weft::cpu {
namespace {

// How often each task was run.
std::vector<int> runs_of(int64_t count, int64_t at_least) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
  run_shared_tasks(
      count,
      [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) ++runs[static_cast<size_t>(task)];
      },
      at_least);
  return {runs.begin(), runs.end()};
}

TEST(SharedTasks, EveryTaskRunsOnce) {
  const int before = at::get_num_threads();
  for (const int threads : {1, 2, 3, 7}) {
    at::set_num_threads(threads);
    for (const int64_t count : {0, 1, 2, 63 * threads, 64 * threads - 1, 64 * threads,
                                64 * threads + 1, 1000 * threads + 5}) {
      for (const int64_t at_least : {1, 6, 100000}) {
        EXPECT_EQ(runs_of(count, at_least), std::vector<int>(static_cast<size_t>(count), 1))
            << threads << " threads, " << count << " tasks";
      }
    }
  }
  at::set_num_threads(before);
}

TEST(SharedTasks, EveryTaskRunsOnceWithinOthers) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  at::parallel_for(
      0, 3, 1, [](int64_t, int64_t) { EXPECT_EQ(runs_of(1000, 1), std::vector<int>(1000, 1)); });
  at::set_num_threads(before);
}

}  // namespace
}  // namespace weft::cpu
