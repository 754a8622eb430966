#pragma once
// What a recipe asks of the machine it runs on: files, a device, number types, memory.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/schema.h"
#include "recipes/load.h"
#include "recipes/recipe.h"
#include "recipes/stored_model.h"

namespace weft {

// What this machine lacks of the device and the units for the number type: key and message.
std::vector<std::pair<const char*, std::string>> missing_units(const Recipe& recipe);

// Whether nothing at init.path is an error, or a warning.
enum class Need { kRequired, kIfPresent };

// The model at init.path, or empty and a problem: nothing is there, it is another kind of
// checkpoint, or it cannot be read. What training leaves out of it is a warning. REQUIRES: a
// path.
std::optional<StoredModel> model_to_start_from(const StartConfig& init, Need need,
                                               Problems& problems);

// Adds what this machine lacks: data that is not there (a warning where the recipe is only
// validated), the device, units for the number type (warnings where it is validated for the memory
// of another machine). Works on any recipe; an empty path is not looked for.
void check_environment(const Recipe& recipe, const Use& use, Problems& problems);

// Adds a problem if training needs more memory than there is: an error, or a warning where the
// recipe is only validated. Before that, mini-sequences that are `auto` become `small` where it
// then fits. Where neither the device is there nor memory given, nothing happens. REQUIRES: a
// recipe without problems.
void check_memory(Recipe& recipe, const Use& use, Problems& problems);

// Whether this recipe runs on a GPU on this machine, or says so.
bool runs_on_cuda(const Recipe& recipe);

// Bytes of one value in the compute type that this recipe uses on this machine: 2, 4 or 8.
int compute_bytes(const Recipe& recipe);

}  // namespace weft
