#pragma once
// From what `model:` of a recipe says (model_recipe.h) to a list of layers. A family is a function
// of a few numbers; `layers` in a recipe is the list itself. Either way the result is ModelConfig.
#include "models/config.h"
#include "models/model_recipe.h"

namespace weft {

// Replaces every `auto` by its value. REQUIRES: vocab_size is set. `max_position` that is still
// `auto` becomes 2048; a recipe's resolve (recipes/validate.h) sets it before.
void resolve(ModelRecipe& recipe);

// Checks that need more than one field; works on a resolved recipe.
void validate(const ModelRecipe& recipe, Problems& problems);

// The list of layers. REQUIRES: resolved and without problems.
ModelConfig build_config(const ModelRecipe& recipe);

// The same model with its layers written out (family: layers): what a checkpoint stores. REQUIRES:
// as build_config.
ModelRecipe explicit_recipe(const ModelRecipe& recipe);

}  // namespace weft
