#pragma once
// The checks that need several structs, in one list, and the values that follow from several.
#include "base/schema.h"

#include "recipes/recipe.h"

namespace weft {

// Fills what follows from other parts: the vocabulary from the tokenizer, micro batches from the
// sequence length, and the model's own `auto`s.
void resolve(Recipe& recipe);

// Every check between structs, and each struct's own validate. REQUIRES: resolved.
void validate(const Recipe& recipe, Problems& problems);

}  // namespace weft
