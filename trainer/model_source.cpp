#include "trainer/model_source.h"

#include <set>

#include "absl/strings/match.h"

#include "models/causal_lm.h"
#include "recipes/load.h"

namespace weft {
namespace {

constexpr int64_t kMaxCompanionBytes = 256 << 20;

std::string stored_name(const std::string& file) { return kHfPrefix + file; }

// The logical tensors of an imported checkpoint are those of its model, no more and no fewer.
absl::Status check_names(const TensorStore& store, const ParameterTable& table) {
  std::set<std::string> expected;
  for (const ParameterSpec& row : table.rows()) {
    expected.insert(row.name);
    if (!store.contains(row.name)) {
      return bad_input(store.folder().string(), ": has no tensor '", row.name, "'");
    }
  }
  for (const std::string& name : store.names()) {
    if (!expected.contains(name)) {
      return bad_input(store.folder().string(), ": tensor '", name, "' is unexpected");
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool is_imported(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / stored_name("config.json"), error) &&
         !fs::exists(path / kStateFile, error);
}

absl::StatusOr<ModelSource> ModelSource::open(const fs::path& path, Log& log) {
  if (is_hf_folder(path)) {
    WEFT_ASSIGN_OR_RETURN(HfFolder opened, HfFolder::open(path));
    ModelSource source(path, std::move(opened));
    const HfConfig& config = std::get<HfFolder>(source.weights_).config();
    source.model_ = config.model;
    source.hf_config_ = config.json;
    for (const std::string& warning : config.warnings) {
      source.training_warnings_.push_back((path / "config.json").string() + ": " + warning);
    }
    return source;
  }
  return is_imported(path) ? open_imported(path) : open_run(path, log);
}

absl::StatusOr<ModelSource> ModelSource::open_imported(const fs::path& path) {
  WEFT_ASSIGN_OR_RETURN(TensorStore store, TensorStore::open(path, TensorStore::Verify::kFull));
  const std::string name = stored_name("config.json");
  WEFT_ASSIGN_OR_RETURN(const std::string text, store.text(name));
  WEFT_ASSIGN_OR_RETURN(HfConfig config, read_hf_config(text, (path / name).string()));
  WEFT_RETURN_IF_ERROR(check_names(store, parameter_table(build_config(config.model))));
  ModelSource source(path, std::move(store));
  source.model_ = std::move(config.model);
  source.hf_config_ = std::move(config.json);
  for (const std::string& warning : config.warnings) {
    source.training_warnings_.push_back((path / name).string() + ": " + warning);
  }
  return source;
}

absl::StatusOr<ModelSource> ModelSource::open_run(const fs::path& path, Log& log) {
  WEFT_ASSIGN_OR_RETURN(Checkpoint checkpoint, CheckpointFolder::open(path, log));
  const fs::path folder = checkpoint.store.folder();
  WEFT_ASSIGN_OR_RETURN(const std::string text, checkpoint.store.text(kRecipeFile));
  WEFT_ASSIGN_OR_RETURN(Recipe recipe, parse_recipe(text, (folder / kRecipeFile).string()));
  ModelSource source(folder, std::move(checkpoint.store));
  source.model_ = recipe.model;
  source.recipe_ = std::move(recipe);
  source.step_ = checkpoint.state.step;
  return source;
}

absl::StatusOr<std::map<std::string, std::string>> ModelSource::companions() const {
  std::map<std::string, std::string> files;
  const auto* store = std::get_if<TensorStore>(&weights_);
  for (const std::string& name : hf_companion_files()) {
    std::error_code error;
    const fs::path path = folder_ / (store != nullptr ? stored_name(name) : name);
    if (!fs::exists(path, error)) continue;
    WEFT_ASSIGN_OR_RETURN(files[name], read_file(path, kMaxCompanionBytes));
  }
  return files;
}

std::string ModelSource::tokenizer_file() const {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
    std::error_code error;
    for (const std::string& file : {std::string(name), stored_name(name)}) {
      if (fs::exists(folder_ / file, error)) return (folder_ / file).string();
    }
  }
  return "tokenizer.json";
}

at::ScalarType ModelSource::dtype(const ParameterSpec& row) const {
  if (const auto* folder = std::get_if<HfFolder>(&weights_)) return folder->dtype(row);
  return std::get<TensorStore>(weights_).dtype(row.name);
}

absl::Status ModelSource::read(const ParameterSpec& row, Tensor out) const {
  if (const auto* store = std::get_if<TensorStore>(&weights_)) return store->read(row.name, out);
  std::get<HfFolder>(weights_).read(row, std::move(out));
  return absl::OkStatus();
}

Tensor ModelSource::view(const HfPart& part) const {
  if (const auto* folder = std::get_if<HfFolder>(&weights_)) return folder->view(part);
  const Tensor whole = std::get<TensorStore>(weights_).view(part.name);
  return part.expert < 0 ? whole : whole[part.expert];
}

void ModelSource::release(const ParameterSpec& row) const {
  if (const auto* folder = std::get_if<HfFolder>(&weights_)) {
    folder->release(row);
  } else {
    std::get<TensorStore>(weights_).release(row.name);
  }
}

}  // namespace weft
