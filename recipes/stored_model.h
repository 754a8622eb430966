#pragma once
// The model that stands at a path, without its weights: what `init.path` of a recipe names. The
// trainer's ModelSource (trainer/model_source.h) adds the weights.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "models/huggingface/folder.h"
#include "parallel/tensor_store.h"
#include "recipes/recipe.h"

namespace weft {

inline constexpr char kRecipeFile[] = "recipe.yaml";  // of a run's checkpoint, resolved
// A file that came from Hugging Face stands in a checkpoint under this and its own name.
inline constexpr char kHfPrefix[] = "huggingface.";

struct StoredModel {
  ModelRecipe model;             // resolved
  std::optional<Recipe> recipe;  // of the run, where it is a run's checkpoint
  Json hf_config = nullptr;      // config.json that it comes from, or null
  // What config.json asks of training alone and weft's leaves out, such as dropout, a line each.
  std::vector<std::string> warnings = {};
};

// The model of a checkpoint that was opened: a run's, or an imported one. Bad input: its recipe or
// config.json cannot be read, or the store lacks a tensor of the model, has it in another shape,
// or (imported) has one that is not the model's.
absl::StatusOr<StoredModel> stored_model(const TensorStore& store);
// That of a Hugging Face folder that was opened.
StoredModel stored_model(const HfFolder& folder);

// The model at `path`: a Hugging Face folder, a checkpoint's folder, a folder of checkpoints or a
// run directory (its newest checkpoint whose files have their sizes; no checksum is computed). Bad
// input: what HfFolder::open, newest_checkpoint and stored_model refuse.
absl::StatusOr<StoredModel> read_stored_model(const fs::path& path);

// The model of the run in `run_dir`, if it has a checkpoint that it can go on from.
std::optional<ModelRecipe> resumed_model(const fs::path& run_dir);

// The files of a checkpoint that came from Hugging Face (config.json and those of
// hf_companion_files), by the names that they had there.
absl::StatusOr<std::map<std::string, std::string>> published_files(const TensorStore& store);

// Why weights of `source` cannot be those of `model`: the first tensors that differ, with both
// shapes. Empty if they can. REQUIRES: both resolved and without problems.
std::string unlike_tensors(const ModelRecipe& model, const ModelRecipe& source);

}  // namespace weft
