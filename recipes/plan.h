#pragma once
// What a run needs, before anything is allocated: parameters, FLOPs and bytes, all from the model's
// config, its parameter table, and how this machine computes (spec/models.md 15, spec/parallel.md
// 17).
#include <cstdint>
#include <optional>
#include <string>

#include "recipes/recipe.h"

namespace weft {

// Bytes of training on one rank.
struct MemoryPlan {
  int64_t parameters = 0;  // masters and compute copies
  int64_t gradients = 0;
  int64_t optimizer = 0;    // moments
  int64_t activations = 0;  // kept for the backward pass of one micro-batch
  int64_t working = 0;  // a slice of logits, the hidden states' gradient, one layer's temporaries
  int64_t host = 0;     // in a GPU's host, for what memory.offload takes there; not in total()
  int64_t total() const { return parameters + gradients + optimizer + activations + working; }
};

// `compute_bytes`: of one value in the compute type (2, 4 or 8). REQUIRES: a recipe without
// problems.
MemoryPlan plan_memory(const Recipe& recipe, int compute_bytes);

// The model as a table of text under a line with `name`: layer, mixer, feed-forward, heads,
// parameters, active parameters, equal layers in a row folded, with totals.
std::string describe_model(const std::string& name, const ModelRecipe& model);

// What decoding keeps of one sequence of `context` tokens in bf16 (scan states in fp32): keys and
// values, windows and states of scans, and both.
std::string describe_state(const ModelRecipe& model, int64_t context);

// describe_model, then FLOPs per token, the memory plan, and the longest sequence that fits in
// `memory_bytes` (none: in what this machine has).
std::string describe_plan(const Recipe& recipe, std::optional<int64_t> memory_bytes = {});

}  // namespace weft
