#include "optim/schedule.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

ScheduleConfig schedule(ScheduleKind kind) {
  return {.kind = kind,
          .peak = 2.0,
          .warmup_steps = 10,
          .decay_steps = 25,
          .decay = DecayShape::kSqrt,
          .final_fraction = 0.1};
}

constexpr ScheduleKind kAllKinds[] = {ScheduleKind::kConstant, ScheduleKind::kLinear,
                                      ScheduleKind::kCosine, ScheduleKind::kWsd};

TEST(Schedule, EveryKindWarmsUpLinearlyAndNeverStartsAtZero) {
  for (const ScheduleKind kind : kAllKinds) {
    const ScheduleConfig config = schedule(kind);
    EXPECT_DOUBLE_EQ(learning_rate(config, 0, 100), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate(config, 4, 100), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate(config, 9, 100), 2.0);
  }
}

TEST(Schedule, WsdHitsEveryCornerExactly) {
  const ScheduleConfig config = schedule(ScheduleKind::kWsd);
  EXPECT_DOUBLE_EQ(learning_rate(config, 10, 100), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 74, 100), 2.0);                      // last stable update
  EXPECT_DOUBLE_EQ(learning_rate(config, 75, 100), 2.0 * (0.1 + 0.9 * 0.8));  // sqrt(1/25)
  EXPECT_DOUBLE_EQ(learning_rate(config, 83, 100), 2.0 * (0.1 + 0.9 * 0.4));  // sqrt(9/25)
  EXPECT_DOUBLE_EQ(learning_rate(config, 99, 100), 0.2);
}

TEST(Schedule, WsdCanDecayLinearlyOrNotAtAll) {
  ScheduleConfig config = schedule(ScheduleKind::kWsd);
  config.decay = DecayShape::kLinear;
  EXPECT_DOUBLE_EQ(learning_rate(config, 79, 100), 2.0 * (0.1 + 0.9 * 0.8));  // 5/25 done
  EXPECT_DOUBLE_EQ(learning_rate(config, 99, 100), 0.2);
  config.decay_steps = 0;
  EXPECT_DOUBLE_EQ(learning_rate(config, 99, 100), 2.0);
}

TEST(Schedule, LinearFallsFromThePeakToTheFinalFraction) {
  const ScheduleConfig config = schedule(ScheduleKind::kLinear);
  EXPECT_DOUBLE_EQ(learning_rate(config, 54, 100), 2.0 * (0.1 + 0.9 * 0.5));  // 45 of 90
  EXPECT_DOUBLE_EQ(learning_rate(config, 99, 100), 0.2);
}

TEST(Schedule, CosineFallsFromThePeakToTheFinalFraction) {
  const ScheduleConfig config = schedule(ScheduleKind::kCosine);
  EXPECT_DOUBLE_EQ(learning_rate(config, 39, 100), 2.0 * (0.1 + 0.9 * 0.75));  // 30 of 90
  EXPECT_DOUBLE_EQ(learning_rate(config, 54, 100), 2.0 * (0.1 + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(learning_rate(config, 99, 100), 0.2);
}

TEST(Schedule, ConstantStaysAtThePeak) {
  const ScheduleConfig config = schedule(ScheduleKind::kConstant);
  for (const int64_t step : {10, 50, 99}) EXPECT_DOUBLE_EQ(learning_rate(config, step, 100), 2.0);
}

TEST(Schedule, ARunOfOneUpdateUsesTheLastValue) {
  for (const ScheduleKind kind :
       {ScheduleKind::kLinear, ScheduleKind::kCosine, ScheduleKind::kWsd}) {
    ScheduleConfig config = schedule(kind);
    config.warmup_steps = 0;
    config.decay_steps = 1;
    EXPECT_DOUBLE_EQ(learning_rate(config, 0, 1), 0.2);
  }
}

TEST(Schedule, NeverRisesAfterWarmupNorLeavesItsRange) {
  for (const ScheduleKind kind : kAllKinds) {
    const ScheduleConfig config = schedule(kind);
    for (int64_t step = 10; step < 100; ++step) {
      const double now = learning_rate(config, step, 100);
      EXPECT_LE(now, learning_rate(config, step - 1, 100)) << name_of(kind) << " " << step;
      EXPECT_GE(now, 0.2) << name_of(kind) << " " << step;
    }
  }
}

TEST(Schedule, PhasesThatDoNotFitAreReportedUnderTheirKey) {
  Problems problems;
  validate(schedule(ScheduleKind::kWsd), 30, problems);
  EXPECT_EQ(problems.text(), "decay_steps: is 25, but steps - warmup_steps leaves 20");
  Problems warmup;
  validate(schedule(ScheduleKind::kCosine), 9, warmup);
  EXPECT_EQ(warmup.text(), "warmup_steps: is 10, but the stage has 9 steps");
}

TEST(Schedule, PhasesThatFillTheStageAreFine) {
  Problems problems;
  validate(schedule(ScheduleKind::kWsd), 35, problems);
  validate(schedule(ScheduleKind::kLinear), 10, problems);
  EXPECT_EQ(problems.text(), "");
}

TEST(ScheduleDeathTest, StepPastTheEndIsAProgrammerError) {
  EXPECT_DEATH(learning_rate(schedule(ScheduleKind::kWsd), 100, 100), "step 100 of 100");
}

}  // namespace
}  // namespace weft
