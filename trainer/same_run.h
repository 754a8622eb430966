#pragma once
// Whether a run that was stopped may go on under a recipe.
#include "base/file.h"
#include "base/status.h"
#include "recipes/recipe.h"
#include "trainer/training_state.h"

namespace weft {

// A recipe with what a run of it finds: what precision.compute comes to, and fingerprints of data.
struct RunIdentity {
  const Recipe& recipe;
  const TrainingState& state;
};

// Bad input that lists every difference between the run that is `stored` in `run_dir` and the one
// that is to go on, `now`, apart from those that may be (recipes/load.h, differences).
absl::Status check_same_run(const RunIdentity& stored, const RunIdentity& now,
                            const fs::path& run_dir);

}  // namespace weft
