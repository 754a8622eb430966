#pragma once
// The documentation of the recipe's keys, from their descriptions.
#include <string>

#include "base/status.h"

namespace weft {

// The keys under `key` ("" for all; "optim", "stages.data", "model.layers.mixer.kind") with type,
// default, allowed values and one line each. An unknown key names the nearest known one.
absl::StatusOr<std::string> explain(const std::string& key);

// The reference page docs/recipe.md.
std::string recipe_reference();

}  // namespace weft
