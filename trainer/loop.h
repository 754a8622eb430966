#pragma once
// A run from its recipe to its last checkpoint: build, restore, step, evaluate, save, stop. Read
// first in this folder; then step.h (one update), checkpoint.h, evaluate.h, run_metrics.h.
#include <cstdint>
#include <optional>

#include "base/log.h"
#include "base/status.h"
#include "recipes/recipe.h"

namespace weft {

struct TrainOptions {
  fs::path run_dir;
  bool restart = false;               // set the run that is there aside and begin anew
  std::optional<int64_t> stop_after;  // stop cleanly once this many updates are done
  bool profile = false;               // some updates: a table in the log, and profile.json
};

enum class TrainEnd { kFinished, kStopped };  // kStopped: on request, with a checkpoint written

// Trains as `recipe` says, going on from the newest valid checkpoint in the run directory. Bad
// input (data, a run directory of another recipe, damaged checkpoints) has the exit
// status 2 (base/status.h) and is found before the first step; other errors happened while running.
absl::StatusOr<TrainEnd> train(const Recipe& recipe, const TrainOptions& options, Log& log);

}  // namespace weft
