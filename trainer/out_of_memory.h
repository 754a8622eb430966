#pragma once
// What training says when memory that it asks for isn't there.
#include <exception>
#include <optional>

#include "base/status.h"
#include "recipes/recipe.h"
#include "trainer/runtime.h"

namespace weft {

// A run failure with what was asked for, the limit, what the recipe was expected to take, and the
// settings with which it would fit (recipes/fit.h). None if `error` is of another kind.
std::optional<absl::Status> out_of_memory(const std::exception& error, const Recipe& recipe,
                                          const Runtime& runtime);

}  // namespace weft
