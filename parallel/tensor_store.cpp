#include "parallel/tensor_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <ATen/core/grad_mode.h>
#include <nlohmann/json.hpp>

namespace weft {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kManifest[] = "manifest.json";
constexpr int kFormatVersion = 1;
constexpr int64_t kMaxManifestBytes = 1 << 30;
constexpr int64_t kMaxTextBytes = 1 << 28;

// The tensors of each file, in the order given.
std::vector<std::vector<NamedTensor>> cut(const std::vector<NamedTensor>& tensors,
                                          int64_t shard_bytes) {
  std::vector<std::vector<NamedTensor>> shards;
  int64_t filled = 0;
  for (const NamedTensor& named : tensors) {
    const int64_t bytes = static_cast<int64_t>(named.tensor.nbytes());
    if (shards.empty() || filled + bytes > shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(named);
    filled += bytes;
  }
  return shards;
}

}  // namespace

TensorStoreWriter::TensorStoreWriter(fs::path folder, int64_t shard_bytes)
    : folder_(std::move(folder)), shard_bytes_(shard_bytes) {}

absl::Status TensorStoreWriter::add_tensors(const std::string& group,
                                            const std::vector<NamedTensor>& tensors) {
  const auto shards = cut(tensors, shard_bytes_);
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        absl::StrFormat("%s-%05d-of-%05d.safetensors", group, i + 1, shards.size());
    WEFT_ASSIGN_OR_RETURN(const WrittenFile file,
                          write_safetensors(folder_ / name, shards[i], {{"format", "pt"}}));
    for (const NamedTensor& named : shards[i]) {
      const bool added =
          tensors_
              .emplace(named.name, Placed{name, safetensors_dtype(named.tensor.scalar_type()),
                                          named.tensor.sizes().vec()})
              .second;
      WEFT_CHECK(added, "tensor '", named.name, "' is stored twice");
    }
    bytes_ += file.size;
    files_.push_back(file);
  }
  return absl::OkStatus();
}

absl::Status TensorStoreWriter::add_text(const std::string& name, const std::string& text) {
  WEFT_RETURN_IF_ERROR(write_file(folder_ / name, text));
  const int64_t size = static_cast<int64_t>(text.size());
  files_.push_back({name, size, checksum(std::as_bytes(std::span(text)))});
  bytes_ += size;
  return absl::OkStatus();
}

absl::Status TensorStoreWriter::finish() {
  Json manifest = {{"format", "weft-tensor-store"}, {"version", kFormatVersion}};
  manifest["files"] = Json::object();
  for (const WrittenFile& file : files_) {
    manifest["files"][file.name] = {{"bytes", file.size}, {"xxh3", hex64(file.checksum)}};
  }
  manifest["tensors"] = Json::object();
  for (const auto& [name, placed] : tensors_) {
    manifest["tensors"][name] = {
        {"file", placed.file}, {"dtype", placed.dtype}, {"shape", placed.shape}};
  }
  WEFT_RETURN_IF_ERROR(sync_folder(folder_));
  return write_file(folder_ / kManifest, manifest.dump(1) + "\n");
}

namespace {

absl::StatusOr<Json> read_manifest(const fs::path& path) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxManifestBytes));
  Json manifest = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto has_object = [&](const char* key) {
    return manifest.contains(key) && manifest[key].is_object();
  };
  if (!manifest.is_object() || !has_object("files") || !has_object("tensors")) {
    return bad_input(path.string(), ": is not a manifest");
  }
  if (!manifest.contains("version") || manifest["version"] != kFormatVersion) {
    return bad_input(path.string(), ": has another format version, this weft reads ",
                     kFormatVersion);
  }
  return manifest;
}

// Size and, for kFull, checksum of one file as the manifest says them.
absl::Status check_file(const fs::path& path, const Json& entry, TensorStore::Verify verify) {
  if (!entry.is_object() || !entry.contains("bytes") || !entry["bytes"].is_number_integer() ||
      !entry.contains("xxh3") || !entry["xxh3"].is_string()) {
    return bad_input(path.string(), ": its entry in the manifest is damaged");
  }
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return bad_input(path.string(), ": ", error.message());
  const int64_t expected = entry["bytes"].get<int64_t>();
  if (static_cast<int64_t>(size) != expected) {
    return bad_input(path.string(), ": has ", size, " bytes, the manifest says ", expected);
  }
  if (verify == TensorStore::Verify::kSizes) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const uint64_t sum, checksum_file(path));
  if (hex64(sum) != entry["xxh3"].get<std::string>()) {
    return bad_input(path.string(), ": its checksum is ", hex64(sum), ", the manifest says ",
                     entry["xxh3"].get<std::string>());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorStore> TensorStore::open(const fs::path& folder, Verify verify) {
  WEFT_ASSIGN_OR_RETURN(const Json manifest, read_manifest(folder / kManifest));
  TensorStore store;
  store.folder_ = folder;
  for (const auto& [name, entry] : manifest["files"].items()) {
    if (fs::path(name).filename() != name) {
      return bad_input((folder / kManifest).string(), ": file name '", name, "' leaves the folder");
    }
    WEFT_RETURN_IF_ERROR(check_file(folder / name, entry, verify));
    const int64_t size = entry["bytes"].get<int64_t>();
    store.bytes_ += size;
    if (fs::path(name).extension() != ".safetensors") {
      store.texts_[name] = size;
      continue;
    }
    WEFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(folder / name));
    store.files_by_name_[name] = store.files_.size();
    store.files_.push_back(std::move(file));
  }
  for (const auto& [name, placed] : manifest["tensors"].items()) {
    const std::string file = placed.value("file", "");
    const auto found = store.files_by_name_.find(file);
    const SafetensorsEntry* entry =
        found == store.files_by_name_.end() ? nullptr : store.files_[found->second].find(name);
    if (entry == nullptr || placed["dtype"] != safetensors_dtype(entry->dtype) ||
        placed["shape"] != entry->shape) {
      return bad_input((folder / kManifest).string(), ": tensor '", name, "' is not in ", file,
                       " with that dtype and shape");
    }
    store.tensors_[name] = found->second;
  }
  return store;
}

std::vector<std::string> TensorStore::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : tensors_) names.push_back(name);
  return names;
}

absl::Status TensorStore::read(const std::string& name, Tensor out) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return bad_input(folder_.string(), ": has no tensor '", name, "'");
  const SafetensorsFile& file = files_[found->second];
  const SafetensorsEntry& entry = *file.find(name);
  if (out.sizes() != at::IntArrayRef(entry.shape)) {
    return bad_input(folder_.string(), ": tensor '", name, "' is ", at::IntArrayRef(entry.shape),
                     ", the model needs ", out.sizes());
  }
  const at::NoGradGuard no_grad;
  out.copy_(file.read(entry));
  return absl::OkStatus();
}

absl::StatusOr<std::string> TensorStore::text(const std::string& name) const {
  if (!texts_.contains(name)) return bad_input(folder_.string(), ": has no file '", name, "'");
  return read_file(folder_ / name, kMaxTextBytes);
}

}  // namespace weft
