#pragma once
// Where an update of the run stands: its stage and the update inside the stage.
#include <cstdint>

#include "recipes/recipe.h"

namespace weft {

struct StepPlace {
  size_t stage;
  int64_t step;  // 0-based inside the stage

  bool operator==(const StepPlace&) const = default;
};

int64_t total_steps(const Recipe& recipe);

// REQUIRES: 0 <= step < total_steps(recipe).
StepPlace locate(const Recipe& recipe, int64_t step);

}  // namespace weft
