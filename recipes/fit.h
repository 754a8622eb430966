#pragma once
// What fits into memory before it runs: the longest sequence, and the keys that make a recipe fit.
// All of it follows from plan_memory (plan.h).
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "recipes/plan.h"
#include "recipes/recipe.h"

namespace weft {

// Bytes that a plan may take where it computes, and of pinned memory in the host of a GPU.
struct Room {
  int64_t device;
  int64_t host = std::numeric_limits<int64_t>::max();
};

// What this machine has for such a recipe, where it computes and in its host. REQUIRES: the device
// is here.
Room room_here(const Recipe& recipe);

// Whether the plan's bytes are there.
bool fits(const MemoryPlan& plan, const Room& room);

struct LongestSequence {
  int64_t tokens = 0;
  MemoryPlan plan;  // with it
};

// The longest sequence, one a forward pass, whose training fits into `room` (with
// mini-sequences that are `auto` or, for lack of memory, `small`); 0 if one of a single token takes
// more. By bisection: where slices begin beyond it, one that is longer still may fit. Sequences of
// GPT-2 end where its positions do. REQUIRES: a recipe
// without problems.
LongestSequence longest_sequence(const Recipe& recipe, int compute_bytes, const Room& room);

// Mini-sequences that are `auto` become `small` if the plan does not fit as it is, but does with
// them. The plan then. REQUIRES: a recipe without problems.
MemoryPlan fit_mini_sequences(Recipe& recipe, int compute_bytes, const Room& room);

// Settings over the recipe, as `--set` takes them, with which the plan is smaller.
struct SmallerPlan {
  std::vector<std::string> sets;
  MemoryPlan memory;  // with them
};

// Plans of the same training (no other model, sequences or updates) that fit into `room`: each
// memory key alone; if none is enough, small slices with one of the others; if none is, and this
// runs on a GPU, blocks computed again whose inputs wait in its host, with or without small slices;
// then one sequence a forward pass, and if nothing was found, that with the keys as before. Empty
// if there is none. REQUIRES: a recipe without problems.
std::vector<SmallerPlan> plans_that_fit(const Recipe& recipe, int compute_bytes, const Room& room);

// "1.9 GiB", and what the plan takes in the host if it does: ", and 4.0 GiB in its host".
std::string plan_text(const MemoryPlan& plan);

// "it fits with memory.recompute=block (1.9 GiB), or ..", or what remains if nothing fits: the
// longest sequence that would.
std::string fitting_words(const Recipe& recipe, int compute_bytes, const Room& room);

}  // namespace weft
