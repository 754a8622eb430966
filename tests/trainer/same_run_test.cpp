#include "trainer/same_run.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

using testing::HasSubstr;

// What is said of a run of stages `before`, after `step` updates, that is to go on as `now`.
std::string complaint(const std::vector<int64_t>& before, const std::vector<int64_t>& now,
                      int64_t step) {
  const auto recipe_of = [](const std::vector<int64_t>& steps) {
    Recipe recipe;
    recipe.stages.resize(steps.size());
    for (size_t i = 0; i < steps.size(); ++i) recipe.stages[i].steps = steps[i];
    return recipe;
  };
  const Recipe stored = recipe_of(before), wanted = recipe_of(now);
  const TrainingState state{.step = step};
  const absl::Status status = check_same_run({stored, state}, {wanted, state}, "run");
  EXPECT_EQ(exit_status(status), status.ok() ? 0 : 2);
  return std::string(status.message());
}

TEST(SameRun, AStageThatHasBegunMayBecomeLonger) {
  EXPECT_EQ(complaint({10, 10, 100}, {10, 10, 200}, 25), "");
  EXPECT_EQ(complaint({10, 10, 100}, {10, 15, 100}, 15), "");
  EXPECT_EQ(complaint({10, 10, 100}, {20, 5, 100}, 0), "");
}

// Also where the last update keeps its place, as in the second.
TEST(SameRun, StagesThatAreDoneKeepTheirSteps) {
  const char* message = "stages that the run has finished have another number of steps";
  EXPECT_THAT(complaint({10, 10, 100}, {12, 10, 100}, 25), HasSubstr(message));
  EXPECT_THAT(complaint({10, 10, 100}, {12, 8, 100}, 25), HasSubstr(message));
}

TEST(SameRun, ARecipeMustNotEndBeforeTheRun) {
  EXPECT_THAT(complaint({10, 10}, {10, 4}, 15),
              HasSubstr("the run has done 15 updates, the recipe has 14"));
}

}  // namespace
}  // namespace weft
