#include "trainer/guard.h"

#include <limits>

#include <gtest/gtest.h>

namespace weft {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Guard, SkipsWhatIsNotFiniteAndGoesOn) {
  const GuardConfig config;
  TrainingState state;
  EXPECT_EQ(judge(config, 1.0, 1.0, state), Verdict::kUpdate);
  EXPECT_EQ(judge(config, kNan, 1.0, state), Verdict::kSkip);
  EXPECT_EQ(judge(config, 1.0, std::numeric_limits<double>::infinity(), state), Verdict::kSkip);
  EXPECT_EQ(state.skipped, 2);
  EXPECT_EQ(state.skipped_in_a_row, 2);
  EXPECT_EQ(judge(config, 1.0, 1.0, state), Verdict::kUpdate);
  EXPECT_EQ(state.skipped, 2);
  EXPECT_EQ(state.skipped_in_a_row, 0);
}

TEST(Guard, StopsAtOnceWhenTheRecipeDoesNotSkip) {
  TrainingState state;
  EXPECT_EQ(judge({.skip_nonfinite = false}, kNan, 1.0, state), Verdict::kStop);
}

TEST(Guard, StopsAfterTheLimitOfSkippedUpdatesInARow) {
  const GuardConfig config{.stop_after = 3};
  TrainingState state;
  EXPECT_EQ(judge(config, kNan, 1.0, state), Verdict::kSkip);
  EXPECT_EQ(judge(config, kNan, 1.0, state), Verdict::kSkip);
  EXPECT_EQ(judge(config, kNan, 1.0, state), Verdict::kStop);
}

TEST(Guard, ASpikeIsJudgedAgainstTheRunningMeanOnceItIsKnown) {
  const GuardConfig config{.spike_factor = 5};
  TrainingState state;
  EXPECT_EQ(judge(config, 1.0, 100.0, state), Verdict::kUpdate);  // first updates set the mean
  for (int i = 1; i < kGuardWarmup; ++i) judge(config, 1.0, 1.0, state);
  const double mean = state.grad_norm_mean;
  EXPECT_GT(mean, 1.0);
  EXPECT_LT(mean, 100.0);
  EXPECT_EQ(judge(config, 1.0, 5.01 * mean, state), Verdict::kSkip);
  EXPECT_EQ(state.grad_norm_mean, mean);  // a skipped update leaves the mean alone
  EXPECT_EQ(judge(config, 1.0, 4.99 * mean, state), Verdict::kUpdate);
}

TEST(Guard, FactorZeroNeverCallsAnythingASpike) {
  const GuardConfig config{.spike_factor = 0};
  TrainingState state;
  for (int i = 0; i < 2 * kGuardWarmup; ++i) judge(config, 1.0, 1.0, state);
  EXPECT_EQ(judge(config, 1.0, 1e30, state), Verdict::kUpdate);
}

}  // namespace
}  // namespace weft
