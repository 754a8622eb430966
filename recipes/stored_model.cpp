#include "recipes/stored_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "models/causal_lm.h"
#include "recipes/checkpoint_folders.h"
#include "recipes/load.h"

namespace weft {
namespace {

enum class Others { kAllowed, kRefused };

// The model's tensors are in the store; whether it may have others.
absl::Status check_tensors(const TensorStore& store, const ModelRecipe& model, Others others) {
  const ParameterTable table = parameter_table(build_config(model));
  for (const ParameterSpec& row : table.rows()) {
    if (!store.contains(row.name)) {
      return bad_input(store.folder().string(), ": has no tensor '", row.name, "'");
    }
    const Tensor stored = store.view(row.name);
    if (stored.sizes() != at::IntArrayRef(row.shape)) {
      return bad_input(store.folder().string(), ": tensor '", row.name, "' is ", stored.sizes(),
                       ", the model needs ", at::IntArrayRef(row.shape));
    }
  }
  if (others == Others::kAllowed) return absl::OkStatus();
  for (const std::string& name : store.names()) {
    if (table.find(name) == nullptr) {
      return bad_input(store.folder().string(), ": tensor '", name, "' is unexpected");
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> located(const std::vector<std::string>& warnings, const fs::path& file) {
  std::vector<std::string> lines;
  for (const std::string& warning : warnings) lines.push_back(file.string() + ": " + warning);
  return lines;
}

absl::StatusOr<StoredModel> imported_model(const TensorStore& store) {
  const std::string name = std::string(kHfPrefix) + "config.json";
  WEFT_ASSIGN_OR_RETURN(const std::string text, store.text(name));
  const fs::path file = store.folder() / name;
  WEFT_ASSIGN_OR_RETURN(HfConfig config, read_hf_config(text, file.string()));
  WEFT_RETURN_IF_ERROR(check_tensors(store, config.model, Others::kRefused));
  return StoredModel{.model = std::move(config.model),
                     .recipe = {},
                     .hf_config = std::move(config.json),
                     .warnings = located(config.warnings, file)};
}

absl::StatusOr<StoredModel> model_of_run(const TensorStore& store) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, store.text(kRecipeFile));
  WEFT_ASSIGN_OR_RETURN(Recipe recipe, parse_recipe(text, (store.folder() / kRecipeFile).string()));
  WEFT_RETURN_IF_ERROR(check_tensors(store, recipe.model, Others::kAllowed));
  StoredModel stored{.model = recipe.model, .recipe = std::move(recipe)};
  const std::string name = std::string(kHfPrefix) + "config.json";
  if (!store.texts().contains(name)) return stored;
  WEFT_ASSIGN_OR_RETURN(const std::string config, store.text(name));
  absl::StatusOr<Json> json = parse_python_json(config);
  if (!json.ok()) return in_context(json.status(), (store.folder() / name).string());
  stored.hf_config = *std::move(json);
  return stored;
}

// That of the checkpoint in `folder`; damage that sizes do not show goes unseen.
absl::StatusOr<StoredModel> model_in(const fs::path& folder) {
  WEFT_ASSIGN_OR_RETURN(const TensorStore store,
                        TensorStore::open(folder, TensorStore::Verify::kSizes));
  return stored_model(store);
}

}  // namespace

absl::StatusOr<StoredModel> stored_model(const TensorStore& store) {
  return store.texts().contains(kRecipeFile) ? model_of_run(store) : imported_model(store);
}

StoredModel stored_model(const HfFolder& folder) {
  const HfConfig& config = folder.config();
  return StoredModel{.model = config.model,
                     .recipe = {},
                     .hf_config = config.json,
                     .warnings = located(config.warnings, folder.path() / "config.json")};
}

absl::StatusOr<StoredModel> read_stored_model(const fs::path& path) {
  if (is_hf_folder(path)) {
    WEFT_ASSIGN_OR_RETURN(const HfFolder folder, HfFolder::open(path));
    return stored_model(folder);
  }
  if (is_checkpoint(path)) return model_in(path);
  const fs::path place = checkpoint_place(path);
  std::error_code error;
  if (!fs::is_directory(place, error)) return no_checkpoint(path);
  std::string damages;
  WEFT_ASSIGN_OR_RETURN(std::optional<StoredModel> newest,
                        newest_checkpoint(place, model_in, damages));
  if (newest.has_value()) return *std::move(newest);
  if (damages.empty()) return no_checkpoint(path);
  return bad_input(place.string(), ": no checkpoint is whole:", damages);
}

std::optional<ModelRecipe> resumed_model(const fs::path& run_dir) {
  std::string damages;
  const auto newest = newest_checkpoint(run_dir / "checkpoints", model_in, damages);
  if (!newest.ok() || !newest->has_value()) return std::nullopt;
  return (*newest)->model;
}

absl::StatusOr<std::map<std::string, std::string>> published_files(const TensorStore& store) {
  std::map<std::string, std::string> files;
  for (const std::string& name : store.texts()) {
    if (!name.starts_with(kHfPrefix)) continue;
    WEFT_ASSIGN_OR_RETURN(files[name.substr(sizeof kHfPrefix - 1)], store.text(name));
  }
  return files;
}

std::string unlike_tensors(const ModelRecipe& model, const ModelRecipe& source) {
  constexpr size_t kMostNamed = 3;
  const ParameterTable ours = parameter_table(build_config(model));
  const ParameterTable theirs = parameter_table(build_config(source));
  std::vector<std::string> found;
  for (const ParameterSpec& row : ours.rows()) {
    const ParameterSpec* other = theirs.find(row.name);
    if (other == nullptr) {
      found.push_back(absl::StrCat("'", row.name, "' ", shape_text(row.shape), " is only here"));
    } else if (other->shape != row.shape) {
      found.push_back(absl::StrCat("'", row.name, "' is ", shape_text(row.shape), " here, ",
                                   shape_text(other->shape), " there"));
    }
  }
  for (const ParameterSpec& row : theirs.rows()) {
    if (ours.find(row.name) == nullptr) {
      found.push_back(absl::StrCat("'", row.name, "' ", shape_text(row.shape), " is only there"));
    }
  }
  const size_t named = std::min(found.size(), kMostNamed);
  const std::string text =
      absl::StrJoin(found.begin(), found.begin() + static_cast<int64_t>(named), "; ");
  return named == found.size() ? text : absl::StrCat(text, "; and ", found.size() - named, " more");
}

}  // namespace weft
