#pragma once
// A model and its weights, wherever they are: a checkpoint of a run, an imported checkpoint, or a
// Hugging Face folder as it is. What every command that takes a checkpoint opens.
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/log.h"
#include "base/status.h"
#include "models/huggingface/folder.h"
#include "recipes/recipe.h"
#include "recipes/stored_model.h"
#include "trainer/checkpoint.h"

namespace weft {

// Whether `path` is a checkpoint made by `weft import`.
bool is_imported(const fs::path& path);

class ModelSource final {
 public:
  // `path`: a checkpoint's folder, a run directory (its newest whole checkpoint) or a Hugging Face
  // folder. Damaged checkpoints of a run that are passed over are logged.
  static absl::StatusOr<ModelSource> open(const fs::path& path, Log& log);

  const fs::path& folder() const { return folder_; }
  const ModelRecipe& model() const { return stored_.model; }
  // Of the run that the checkpoint is of, else null.
  const Recipe* recipe() const { return stored_.recipe.has_value() ? &*stored_.recipe : nullptr; }
  int64_t step() const { return step_; }  // updates done; 0 where it is not a run's

  // config.json of the Hugging Face checkpoint that it comes from, or null.
  const Json& hf_config() const { return stored_.hf_config; }
  // What config.json asks of training alone and weft's leaves out, such as dropout, a line each. To
  // be shown by whoever makes or starts something to be trained; nobody else computes otherwise.
  const std::vector<std::string>& training_warnings() const { return stored_.warnings; }
  // The files that came with it, by name (hf_companion_files).
  absl::StatusOr<std::map<std::string, std::string>> companions() const;
  // One of them, or config.json: the file that holds it here, which need not exist.
  fs::path companion_file(const std::string& name) const;
  // One of them; none where it did not come along.
  absl::StatusOr<std::optional<std::string>> companion(const std::string& name) const;
  // These and config.json, by name; none where it does not come from Hugging Face.
  absl::StatusOr<std::map<std::string, std::string>> published() const;
  // The file that holds its tokenizer, if there is one beside the weights, else "tokenizer.json".
  std::string tokenizer_file() const;

  at::ScalarType dtype(const ParameterSpec& row) const;  // as stored
  absl::Status read(const ParameterSpec& row, Tensor out) const;
  // A part as it is stored: never to be written to, and gone with this source.
  Tensor view(const HfPart& part) const;
  // Gives back the memory that reading the tensor has taken.
  void release(const ParameterSpec& row) const;

 private:
  ModelSource(fs::path folder, std::variant<TensorStore, HfFolder> weights, StoredModel stored,
              int64_t step)
      : folder_(std::move(folder)),
        weights_(std::move(weights)),
        stored_(std::move(stored)),
        step_(step) {}
  static absl::StatusOr<ModelSource> of_store(TensorStore store, int64_t step);

  fs::path folder_;
  std::variant<TensorStore, HfFolder> weights_;
  StoredModel stored_;
  int64_t step_;
};

}  // namespace weft
