#pragma once
// What fits into memory before it runs: the longest sequence, and the keys that make a recipe fit.
// All of it follows from plan_memory (plan.h).
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "recipes/recipe.h"

namespace weft {

// The longest sequence, one a forward pass, whose training takes at most `bytes` (with
// mini-sequences that are `auto` or, for lack of memory, `small`); 0 if one of a single token takes
// more. By bisection: where slices begin beyond it, one that is longer still may fit. Sequences of
// GPT-2 end where its positions do. REQUIRES: a recipe
// without problems.
int64_t longest_sequence(const Recipe& recipe, int compute_bytes, int64_t bytes);

// Mini-sequences that are `auto` become `small` if the plan takes more than `bytes` as it is, and
// not with them. Bytes of the plan. REQUIRES: a recipe without problems.
int64_t fit_mini_sequences(Recipe& recipe, int compute_bytes, int64_t bytes);

// Settings over the recipe, as `--set` takes them, with which the plan is smaller.
struct SmallerPlan {
  std::vector<std::string> sets;
  int64_t bytes = 0;  // of the plan with them
};

// Plans of the same training (no other model, sequences or updates) that take at most `bytes`: each
// memory key alone; if none is enough, small slices with recomputation; then one sequence a forward
// pass, and if nothing was found, that with the keys as before. Empty if there is none. REQUIRES: a
// recipe without problems.
std::vector<SmallerPlan> plans_that_fit(const Recipe& recipe, int compute_bytes, int64_t bytes);

// "with memory.recompute=block (1.9 GiB) or ..", or what remains if nothing fits: the longest
// sequence that would.
std::string fitting_words(const Recipe& recipe, int compute_bytes, int64_t bytes);

}  // namespace weft
