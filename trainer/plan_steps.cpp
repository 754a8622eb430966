#include "trainer/plan_steps.h"

#include "base/check.h"

namespace weft {

int64_t total_steps(const Recipe& recipe) {
  int64_t steps = 0;
  for (const StageConfig& stage : recipe.stages) steps += stage.steps;
  return steps;
}

StepPlace locate(const Recipe& recipe, int64_t step) {
  int64_t rest = step;
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    if (rest < recipe.stages[i].steps) return {i, rest};
    rest -= recipe.stages[i].steps;
  }
  WEFT_CHECK(false, "step ", step, " of ", total_steps(recipe));
}

}  // namespace weft
