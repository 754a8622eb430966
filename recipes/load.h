#pragma once
// YAML to Recipe. Every problem is found before anything else happens, and all of them are reported
// at once, each as "file:line:column: key.path: what is wrong and what is allowed".
//
//   auto loaded = load_recipe("configs/quickstart.yaml", {"stages.0.steps=50"}, Purpose::kTrain);
//   if (!loaded.ok()) { print(loaded.status()); return exit_status(loaded.status()); }
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "recipes/recipe.h"

namespace weft {

// What the recipe is wanted for: to `validate`, absent data and too little memory are warnings.
enum class Purpose { kTrain, kValidate };

// The same, with the bytes of memory that training may take (none: what this machine has). To
// validate for given memory, the absence of a GPU or of units for bf16 is a warning too.
struct Use {
  Use(Purpose what_for, std::optional<int64_t> memory_bytes = {})
      : purpose(what_for), memory(memory_bytes) {}
  Purpose purpose;
  std::optional<int64_t> memory;
};

struct LoadedRecipe {
  Recipe recipe;                      // resolved: no `auto` left that weft decides before the run
  std::vector<std::string> warnings;  // "file:line:column: key: ..."
};

// The model of the run that goes on under this recipe (of which only its own keys are read so far),
// if it has a checkpoint.
using ResumedModel = std::function<std::optional<ModelRecipe>(const Recipe& recipe)>;

// Reads `path`, its `extends` chain and the `--set key.path=value` overrides (in this order),
// checks and resolves. A file over 1 MiB, an alias bomb (more than 10,000 nodes after aliases) or a
// cycle in `extends` is refused before its content is used.
//
// Where init.path names a model, the recipe's is that one with the written keys over it, and must
// have its tensors; beside a model that lists its layers, or that is of another family, one must be
// given whole. Of a run that goes on (`resumed` gives one), the model that is begun with is its
// checkpoint's, and init.path may be gone.
absl::StatusOr<LoadedRecipe> load_recipe(const fs::path& path, const std::vector<std::string>& sets,
                                         const Use& use, const ResumedModel& resumed = {});

// A recipe that weft wrote itself (run directory, checkpoint); `name` is used in messages. Checks
// fields, but neither files nor memory.
absl::StatusOr<Recipe> parse_recipe(const std::string& text, const std::string& name);

// The recipe as YAML, every key written. parse_recipe reads it back to an equal recipe.
std::string write_recipe(const Recipe& recipe);

// The model alone, with its layers written out (family: layers).
std::string write_model(const ModelRecipe& recipe);

// Keys whose values differ, as "optim.eps: 1e-08 in the run, 1e-06 now", apart from those that a
// resumed run may change: device, threads, stages.*.steps, micro_batch_tokens, logging.*,
// checkpoint.*, memory.*. precision.compute is left out too: what matters is what its `auto` came
// to, which the trainer compares.
std::vector<std::string> differences(const Recipe& stored, const Recipe& now);

// What a model computes otherwise than the one that its weights come from, as "model.rope.theta:
// 10000 there, 500000 here"; how weights are drawn is left out. REQUIRES: both resolved and without
// problems.
std::vector<std::string> differences(const ModelRecipe& source, const ModelRecipe& model);

}  // namespace weft
