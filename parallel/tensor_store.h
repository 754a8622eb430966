#pragma once
// Logical tensors in a folder of safetensors files with a manifest: what checkpoints are made of. The
// manifest holds size and checksum of every file and which file holds which tensor; it is written
// last, so a folder without one is no store. docs/checkpoint.md describes the format.
//
//   TensorStoreWriter writer(folder, 2'000'000'000);
//   WEFT_RETURN_IF_ERROR(writer.add_tensors("model", tensors));
//   WEFT_RETURN_IF_ERROR(writer.add_text("recipe.yaml", recipe));
//   WEFT_RETURN_IF_ERROR(writer.finish());
//
//   WEFT_ASSIGN_OR_RETURN(const TensorStore store, TensorStore::open(folder));   // checks every byte
//   WEFT_RETURN_IF_ERROR(store.read("layers.0.mixer.q.weight", tensor));
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/safetensors.h"
#include "base/status.h"

namespace weft {

class TensorStoreWriter final {
 public:
  // `folder` must exist and be empty. Files are cut so that none exceeds `shard_bytes` unless one
  // tensor alone does.
  TensorStoreWriter(fs::path folder, int64_t shard_bytes);

  // Writes `<group>-00001-of-0000N.safetensors`, ... and fsyncs each. Names are unique in the store.
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
  fs::path folder_;
  int64_t shard_bytes_;
  int64_t bytes_ = 0;
  std::vector<WrittenFile> files_;
  std::map<std::string, Placed> tensors_;
};

class TensorStore final {
 public:
  // kFull reads every file once and compares its checksum; kSizes compares sizes alone (for `info`).
  enum class Verify { kFull, kSizes };
  // A missing manifest, a missing, truncated or changed file, or a tensor that the files do not hold
  // as the manifest says is an error that names the file.
  static absl::StatusOr<TensorStore> open(const fs::path& folder, Verify verify);

  const fs::path& folder() const { return folder_; }
  std::vector<std::string> names() const;  // of all tensors, sorted
  bool contains(const std::string& name) const { return tensors_.contains(name); }

  // Copies a tensor into `out`, whose shape must agree; the type is converted if it differs.
  absl::Status read(const std::string& name, Tensor out) const;
  // A text file of the store.
  absl::StatusOr<std::string> text(const std::string& name) const;
  // Total bytes of all files.
  int64_t bytes() const { return bytes_; }

 private:
  fs::path folder_;
  int64_t bytes_ = 0;
  std::map<std::string, size_t> files_by_name_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> tensors_;  // name -> index in files_
  std::map<std::string, int64_t> texts_;   // name -> size
};

}  // namespace weft
