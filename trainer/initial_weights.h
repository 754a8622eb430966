#pragma once
// What a run begins with: random weights, or those at init.path of its recipe.
#include <map>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/status.h"
#include "parallel/parameter_store.h"
#include "recipes/recipe.h"
#include "trainer/model_source.h"

namespace weft {

struct InitialWeights {
  std::optional<ModelSource> source;             // empty: random
  std::map<std::string, std::string> published;  // ModelSource::published of it
};

// Opens what recipe.init names and compares its model with the recipe's. Bad input: what
// ModelSource::open refuses, something inside `run_dir`, which the run that begins there writes and
// `--restart` moves away, or other tensors.
absl::StatusOr<InitialWeights> open_initial_weights(const Recipe& recipe, const fs::path& run_dir,
                                                    Log& log);

// Fills the masters and what is computed with; logs where the weights come from, and what the
// recipe's model computes otherwise than theirs. REQUIRES: opened for this recipe; gradients kept.
absl::Status fill_with(const InitialWeights& weights, const Recipe& recipe, ParameterStore& store,
                       Log& log);

}  // namespace weft
