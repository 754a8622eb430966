#pragma once
// Logical tensors in a folder of safetensors files with a manifest: what checkpoints are made of.
// The manifest holds size and checksum of every file and which file holds which tensor; it is
// written last, so a folder without one is no store. docs/checkpoint.md describes the format.
//
//   TensorStoreWriter writer(folder, 2'000'000'000);
//   WEFT_RETURN_IF_ERROR(writer.add_tensors("model", tensors));
//   WEFT_RETURN_IF_ERROR(writer.add_text("recipe.yaml", recipe));
//   WEFT_RETURN_IF_ERROR(writer.finish());
//
//   WEFT_ASSIGN_OR_RETURN(const TensorStore store,
//                         TensorStore::open(folder, TensorStore::Verify::kFull));
//   WEFT_RETURN_IF_ERROR(store.read("layers.0.mixer.q.weight", tensor));
#include <map>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/file.h"
#include "base/safetensors.h"
#include "base/status.h"

namespace weft {

class TensorStoreWriter final {
 public:
  // `folder` must exist and be empty. Files are cut so that none exceeds `shard_bytes` unless one
  // tensor alone does.
  TensorStoreWriter(fs::path folder, int64_t shard_bytes);

  // Writes `<group>-00001-of-0000N.safetensors`, ... and fsyncs each.
  // REQUIRES: names of tensors, groups and texts that the store does not have yet.
  // Tensors are read one at a time as they are written.
  absl::Status add_tensors(const std::string& group, const std::vector<TensorSource>& tensors);
  absl::Status add_tensors(const std::string& group, const std::vector<NamedTensor>& tensors);
  // Writes and fsyncs a small text file (recipe, model, state).
  absl::Status add_text(const std::string& name, const std::string& text);
  // Writes manifest.json and fsyncs it and the folder.
  absl::Status finish();

  int64_t bytes_written() const { return bytes_; }

 private:
  struct Placed {
    std::string file;
    std::string dtype;
    std::vector<int64_t> shape;
  };
  void record(const WrittenFile& file);

  fs::path folder_;
  int64_t shard_bytes_;
  int64_t bytes_ = 0;
  std::map<std::string, WrittenFile> files_;  // by name
  std::map<std::string, Placed> tensors_;
};

class TensorStore final {
 public:
  // kFull reads every file once and compares its checksum; kSizes compares sizes (for `info`).
  enum class Verify { kFull, kSizes };
  // Bad input that names the file: no manifest, a missing, truncated or changed file, a tensor that
  // its file does not hold as the manifest says, or one that the manifest does not list.
  static absl::StatusOr<TensorStore> open(const fs::path& folder, Verify verify);

  const fs::path& folder() const { return folder_; }
  std::vector<std::string> names() const;  // of all tensors, sorted
  bool contains(const std::string& name) const { return tensors_.contains(name); }

  // Copies a tensor into `out`, whose shape must agree; the type is converted if it differs.
  absl::Status read(const std::string& name, Tensor out) const;
  // The tensor as it is stored, inside the mapped file: never to be written to, and gone with this
  // store. REQUIRES: contains(name).
  Tensor view(const std::string& name) const;
  at::ScalarType dtype(const std::string& name) const;
  // Gives back the memory that reading the tensor has taken.
  void release(const std::string& name) const;
  // The names of the text files.
  const std::set<std::string>& texts() const { return texts_; }
  // A text file of the store.
  absl::StatusOr<std::string> text(const std::string& name) const;
  // Total bytes of all files but the manifest.
  int64_t bytes() const { return bytes_; }

  TensorStore(TensorStore&&) = default;
  TensorStore& operator=(TensorStore&&) = default;

 private:
  TensorStore() = default;
  absl::Status open_files(const nlohmann::json& files, Verify verify);
  absl::Status place_tensors(const nlohmann::json& tensors);

  fs::path folder_;
  int64_t bytes_ = 0;
  std::map<std::string, SafetensorsFile> files_;           // by file name; nodes stay in place
  std::map<std::string, const SafetensorsFile*> tensors_;  // by tensor name, into files_
  std::set<std::string> texts_;
};

}  // namespace weft
