#include "trainer/model_source.h"

namespace weft {
namespace {

constexpr int64_t kMaxCompanionBytes = 256 << 20;

std::string stored_name(const std::string& file) { return kHfPrefix + file; }

}  // namespace

bool is_imported(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / stored_name("config.json"), error) &&
         !fs::exists(path / kStateFile, error);
}

absl::StatusOr<ModelSource> ModelSource::open(const fs::path& path, Log& log) {
  if (is_hf_folder(path)) {
    WEFT_ASSIGN_OR_RETURN(HfFolder opened, HfFolder::open(path));
    StoredModel stored = stored_model(opened);
    return ModelSource(path, std::move(opened), std::move(stored), 0);
  }
  if (is_imported(path)) {
    WEFT_ASSIGN_OR_RETURN(TensorStore store, TensorStore::open(path, TensorStore::Verify::kFull));
    return of_store(std::move(store), 0);
  }
  WEFT_ASSIGN_OR_RETURN(Checkpoint checkpoint, CheckpointFolder::open(path, log));
  return of_store(std::move(checkpoint.store), checkpoint.state.step);
}

absl::StatusOr<ModelSource> ModelSource::of_store(TensorStore store, int64_t step) {
  WEFT_ASSIGN_OR_RETURN(StoredModel stored, stored_model(store));
  const fs::path folder = store.folder();
  return ModelSource(folder, std::move(store), std::move(stored), step);
}

absl::StatusOr<std::map<std::string, std::string>> ModelSource::companions() const {
  std::map<std::string, std::string> files;
  for (const std::string& name : hf_companion_files()) {
    WEFT_ASSIGN_OR_RETURN(std::optional<std::string> text, companion(name));
    if (text.has_value()) files[name] = *std::move(text);
  }
  return files;
}

fs::path ModelSource::companion_file(const std::string& name) const {
  // In a store a name without the prefix, such as tokenizer.json, is weft's own.
  const bool stored = std::holds_alternative<TensorStore>(weights_);
  return folder_ / (stored ? stored_name(name) : name);
}

absl::StatusOr<std::optional<std::string>> ModelSource::companion(const std::string& name) const {
  std::error_code error;
  const fs::path path = companion_file(name);
  if (!fs::exists(path, error)) return std::optional<std::string>();
  WEFT_ASSIGN_OR_RETURN(std::string text, read_file(path, kMaxCompanionBytes));
  return std::optional<std::string>(std::move(text));
}

absl::StatusOr<std::map<std::string, std::string>> ModelSource::published() const {
  if (const auto* store = std::get_if<TensorStore>(&weights_)) return published_files(*store);
  WEFT_ASSIGN_OR_RETURN(auto files, companions());
  WEFT_ASSIGN_OR_RETURN(files["config.json"],
                        read_file(folder_ / "config.json", kMaxCompanionBytes));
  return files;
}

std::string ModelSource::tokenizer_file() const {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
    std::error_code error;
    const fs::path path = companion_file(name);
    if (fs::exists(path, error)) return path.string();
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
