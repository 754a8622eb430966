#include "parallel/tensor_store.h"

#include <optional>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <ATen/core/grad_mode.h>

#include "base/json.h"

namespace weft {
namespace {

constexpr char kManifest[] = "manifest.json";
constexpr char kFormat[] = "weft-tensor-store";
constexpr int kFormatVersion = 1;
constexpr int64_t kMaxManifestBytes = 100'000'000;
// Depth: manifest, its tensors, a tensor, its shape. A tensor is about six values.
constexpr JsonLimits kManifestLimits = {.depth = 4, .values = 1 << 22};
constexpr int64_t kMaxTextBytes = 1 << 28;

}  // namespace

TensorStoreWriter::TensorStoreWriter(fs::path folder, int64_t shard_bytes)
    : folder_(std::move(folder)), shard_bytes_(shard_bytes) {}

absl::Status TensorStoreWriter::add_tensors(const std::string& group,
                                            const std::vector<NamedTensor>& tensors) {
  std::vector<TensorSource> sources;
  for (const NamedTensor& tensor : tensors) sources.push_back(TensorSource::of(tensor));
  return add_tensors(group, sources);
}

absl::Status TensorStoreWriter::add_tensors(const std::string& group,
                                            const std::vector<TensorSource>& tensors) {
  const auto shards = split_into_files(tensors, shard_bytes_);
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        absl::StrFormat("%s-%05d-of-%05d.safetensors", group, i + 1, shards.size());
    WEFT_ASSIGN_OR_RETURN(const WrittenFile file,
                          write_safetensors(folder_ / name, shards[i], {{"format", "pt"}}));
    for (const TensorSource& tensor : shards[i]) {
      const bool added =
          tensors_.emplace(tensor.name, Placed{name, safetensors_dtype(tensor.dtype), tensor.shape})
              .second;
      WEFT_CHECK(added, "tensor '", tensor.name, "' is stored twice");
    }
    record(file);
  }
  return absl::OkStatus();
}

absl::Status TensorStoreWriter::add_text(const std::string& name, const std::string& text) {
  WEFT_RETURN_IF_ERROR(write_file(folder_ / name, text));
  record({name, static_cast<int64_t>(text.size()), checksum(std::as_bytes(std::span(text)))});
  return absl::OkStatus();
}

void TensorStoreWriter::record(const WrittenFile& file) {
  const bool added = file.name != kManifest && files_.emplace(file.name, file).second;
  WEFT_CHECK(added, "file '", file.name, "' is stored twice");
  bytes_ += file.size;
}

absl::Status TensorStoreWriter::finish() {
  Json manifest = {{"format", kFormat}, {"version", kFormatVersion}};
  manifest["files"] = Json::object();
  for (const auto& [name, file] : files_) {
    manifest["files"][name] = {{"bytes", file.size}, {"xxh3", hex64(file.checksum)}};
  }
  manifest["tensors"] = Json::object();
  for (const auto& [name, placed] : tensors_) {
    manifest["tensors"][name] = {
        {"file", placed.file}, {"dtype", placed.dtype}, {"shape", placed.shape}};
  }
  WEFT_RETURN_IF_ERROR(sync_folder(folder_));
  // Without a newline at the end, every cut leaves a text that is no JSON.
  return write_file(folder_ / kManifest, manifest.dump(1));
}

namespace {

absl::StatusOr<Json> read_manifest(const fs::path& path) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxManifestBytes));
  auto manifest = parse_json(text, kManifestLimits);
  if (!manifest.ok()) return in_context(manifest.status(), path.string());
  const std::string* format = find_string(*manifest, "format");
  if (format == nullptr || *format != kFormat || find_object(*manifest, "files") == nullptr ||
      find_object(*manifest, "tensors") == nullptr) {
    return bad_input(path.string(), ": is not a manifest of weft's");
  }
  if (find_count(*manifest, "version") != kFormatVersion) {
    return unreadable_input(path.string(), ": has another format version, this weft reads ",
                            kFormatVersion);
  }
  return manifest;
}

// Size and, for kFull, checksum of one file as the manifest's entry says them. The size.
absl::StatusOr<int64_t> check_file(const fs::path& path, const Json& entry,
                                   TensorStore::Verify verify) {
  const std::optional<int64_t> expected = find_count(entry, "bytes");
  const std::string* expected_sum = find_string(entry, "xxh3");
  if (!expected.has_value() || expected_sum == nullptr) {
    return bad_input(path.string(), ": its entry in ", kManifest, " is damaged");
  }
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory) {
    return bad_input(path.string(), ": ", error.message());
  }
  if (error) return unreadable_input(path.string(), ": ", error.message());
  if (size != static_cast<uintmax_t>(*expected)) {
    return bad_input(path.string(), ": has ", size, " bytes, ", kManifest, " says ", *expected);
  }
  if (verify == TensorStore::Verify::kSizes) return *expected;
  WEFT_ASSIGN_OR_RETURN(const uint64_t sum, checksum_file(path));
  if (hex64(sum) != *expected_sum) {
    return bad_input(path.string(), ": its checksum is ", hex64(sum), ", ", kManifest, " says ",
                     *expected_sum);
  }
  return *expected;
}

// Whether the file's entry is what the manifest says of the tensor.
bool agrees(const SafetensorsEntry& entry, const Json& placed) {
  const std::string* dtype = find_string(placed, "dtype");
  const Json* shape = find_array(placed, "shape");
  return dtype != nullptr && *dtype == safetensors_dtype(entry.dtype) && shape != nullptr &&
         *shape == Json(entry.shape);
}

}  // namespace

absl::StatusOr<TensorStore> TensorStore::open(const fs::path& folder, Verify verify) {
  WEFT_ASSIGN_OR_RETURN(const Json manifest, read_manifest(folder / kManifest));
  TensorStore store;
  store.folder_ = folder;
  WEFT_RETURN_IF_ERROR(store.open_files(*find_object(manifest, "files"), verify));
  WEFT_RETURN_IF_ERROR(store.place_tensors(*find_object(manifest, "tensors")));
  return store;
}

absl::Status TensorStore::open_files(const Json& files, Verify verify) {
  for (const auto& [name, entry] : files.items()) {
    if (fs::path(name).filename() != name) {
      return bad_input((folder_ / kManifest).string(), ": file name '", name,
                       "' leaves the folder");
    }
    WEFT_ASSIGN_OR_RETURN(const int64_t size, check_file(folder_ / name, entry, verify));
    bytes_ += size;
    if (fs::path(name).extension() != ".safetensors") {
      texts_.insert(name);
      continue;
    }
    WEFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(folder_ / name));
    files_.emplace(name, std::move(file));
  }
  return absl::OkStatus();
}

absl::Status TensorStore::place_tensors(const Json& tensors) {
  for (const auto& [name, placed] : tensors.items()) {
    const std::string* file_name = find_string(placed, "file");
    const auto file = file_name == nullptr ? files_.end() : files_.find(*file_name);
    const SafetensorsEntry* entry = file == files_.end() ? nullptr : file->second.find(name);
    if (entry == nullptr || !agrees(*entry, placed)) {
      return bad_input((folder_ / kManifest).string(), ": tensor '", name,
                       "' is not in its file with that dtype and shape");
    }
    tensors_[name] = &file->second;
  }
  for (const auto& [file_name, file] : files_) {
    for (const SafetensorsEntry& entry : file.entries()) {
      const auto placed = tensors_.find(entry.name);
      if (placed == tensors_.end() || placed->second != &file) {
        return bad_input((folder_ / kManifest).string(), ": does not list tensor '", entry.name,
                         "' of ", file_name);
      }
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> TensorStore::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : tensors_) names.push_back(name);
  return names;
}

absl::Status TensorStore::read(const std::string& name, Tensor out) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return bad_input(folder_.string(), ": has no tensor '", name, "'");
  const SafetensorsFile& file = *found->second;
  const SafetensorsEntry& entry = *file.find(name);
  if (out.sizes() != at::IntArrayRef(entry.shape)) {
    return bad_input(folder_.string(), ": tensor '", name, "' is ", at::IntArrayRef(entry.shape),
                     ", the model needs ", out.sizes());
  }
  const at::NoGradGuard no_grad;
  out.copy_(file.view(entry));
  return absl::OkStatus();
}

Tensor TensorStore::view(const std::string& name) const {
  const auto found = tensors_.find(name);
  WEFT_CHECK(found != tensors_.end(), "no tensor '", name, "'");
  return found->second->view(*found->second->find(name));
}

at::ScalarType TensorStore::dtype(const std::string& name) const {
  const auto found = tensors_.find(name);
  WEFT_CHECK(found != tensors_.end(), "no tensor '", name, "'");
  return found->second->find(name)->dtype;
}

void TensorStore::release(const std::string& name) const {
  const auto found = tensors_.find(name);
  WEFT_CHECK(found != tensors_.end(), "no tensor '", name, "'");
  found->second->release(*found->second->find(name));
}

absl::StatusOr<std::string> TensorStore::text(const std::string& name) const {
  if (!texts_.contains(name)) return bad_input(folder_.string(), ": has no file '", name, "'");
  return read_file(folder_ / name, kMaxTextBytes);
}

}  // namespace weft
