#pragma once
// A Hugging Face checkpoint on disk: config.json with one safetensors file, or several and an
// index.
//
//   WEFT_ASSIGN_OR_RETURN(const HfFolder folder, HfFolder::open("SmolLM-135M"));
//   for (Parameter& p : store.parameters()) WEFT_RETURN_IF_ERROR(folder.read(*p.spec, p.master));
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/safetensors.h"
#include "base/status.h"
#include "models/huggingface/config.h"
#include "models/huggingface/tensor_rules.h"
#include "parallel/parameter_table.h"

namespace weft {

// Whether `path` looks like one: a folder with config.json that is no checkpoint of weft's.
bool is_hf_folder(const fs::path& path);

// Beside weights and config.json, the files of a checkpoint that weft carries along as they are.
std::vector<std::string> hf_companion_files();

class HfFolder final {
 public:
  // Bad input that names, all at once, every tensor that is missing, unexpected, of another shape
  // or of a type that weft does not compute with; a damaged file; what read_hf_config refuses.
  static absl::StatusOr<HfFolder> open(const fs::path& path);

  const fs::path& path() const { return path_; }
  const HfConfig& config() const { return config_; }
  const ParameterTable& table() const { return *table_; }

  // Type of a logical tensor on disk: the widest, should its parts differ.
  at::ScalarType dtype(const ParameterSpec& row) const;
  // Copies a logical tensor, converted to out's type. REQUIRES: a row of table(), out of its shape.
  void read(const ParameterSpec& row, Tensor out) const;
  // One part of it, inside the mapped file: never to be written to, and gone with this folder.
  Tensor view(const HfPart& part) const;
  // Gives back the memory that reading it has taken.
  void release(const ParameterSpec& row) const;

 private:
  HfFolder() = default;
  absl::Status open_files();
  absl::Status place_tensors();

  // A logical tensor's place in the tensors on disk.
  struct Place {
    size_t tensor;  // in tensors_
    int64_t first_row;
    HfPart part;
  };
  struct Stored {
    const SafetensorsFile* file;
    const SafetensorsEntry* entry;
  };

  bool is_embedding(const Stored& head) const;  // byte for byte

  fs::path path_;
  HfConfig config_;
  std::unique_ptr<ParameterTable> table_;
  std::vector<HfTensor> tensors_;
  std::vector<Stored> stored_;                    // of tensors_
  std::map<std::string, SafetensorsFile> files_;  // nodes stay in place
  std::map<std::string, std::vector<Place>> places_;
};

}  // namespace weft
