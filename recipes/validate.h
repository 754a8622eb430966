#pragma once
// The checks that need several structs, in one list, and the values that follow from several.
#include <functional>
#include <string>

#include "base/schema.h"
#include "recipes/recipe.h"

namespace weft {

// Micro-batches that are `auto` are as large as they can be up to this many tokens.
inline constexpr int64_t kAutoMicroBatchTokens = 8192;

// Adds what has no value to follow from, which `resolve` would hide: a vocabulary that is auto over
// data that is token ids already.
void validate_autos(const Recipe& recipe, Problems& problems);

// Fills what follows from other parts: the vocabulary from the tokenizer, micro batches from the
// sequence length, and the model's own `auto`s. Device, threads and compute stay `auto`: they
// depend on the machine. Works on any recipe whose fields are in their ranges or at their defaults.
void resolve(Recipe& recipe);

// Every check between structs, and each struct's own validate. REQUIRES: resolved. A check is left
// out where `is_broken` says that a key it reads ("model", "stages.0.schedule", or one beneath)
// could not be read, so that no complaint follows from a default in its place.
void validate(const Recipe& recipe, const std::function<bool(const std::string& path)>& is_broken,
              Problems& problems);
inline void validate(const Recipe& recipe, Problems& problems) {
  validate(
      recipe, [](const std::string&) { return false; }, problems);
}

}  // namespace weft
