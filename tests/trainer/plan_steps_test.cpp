#include "trainer/plan_steps.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

Recipe two_stages() {
  Recipe recipe;
  recipe.stages.resize(2);
  recipe.stages[0].steps = 3;
  recipe.stages[1].steps = 2;
  return recipe;
}

TEST(PlanSteps, LocatesEachUpdateInItsStage) {
  const Recipe recipe = two_stages();
  EXPECT_EQ(total_steps(recipe), 5);
  EXPECT_EQ(locate(recipe, 0), (StepPlace{0, 0}));
  EXPECT_EQ(locate(recipe, 2), (StepPlace{0, 2}));
  EXPECT_EQ(locate(recipe, 3), (StepPlace{1, 0}));
  EXPECT_EQ(locate(recipe, 4), (StepPlace{1, 1}));
}

TEST(PlanStepsDeathTest, AStepPastTheEndIsAProgrammersError) {
  EXPECT_DEATH(locate(two_stages(), 5), "step 5 of 5");
}

}  // namespace
}  // namespace weft
