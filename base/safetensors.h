#pragma once
// The safetensors format (spec/formats.md 5): a JSON header with name, dtype, shape and byte range
// of each tensor, then their data. Reading trusts nothing: lengths, offsets, holes, overlaps,
// duplicate names and deep JSON are refused with the file's name and the field.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/tensor.h"

namespace weft {

// One tensor of a file, as its header says it.
struct SafetensorsEntry {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  int64_t begin;  // byte range relative to the start of the data
  int64_t end;
};

// A mapped file. Tensors are read by copying out of the mapping.
class SafetensorsFile final {
 public:
  static absl::StatusOr<SafetensorsFile> open(const fs::path& path);

  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // in the data's order
  const SafetensorsEntry* find(const std::string& name) const;               // null if absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // The tensor's bytes inside the mapping.
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const;
  // A new CPU tensor with the entry's dtype and shape.
  Tensor read(const SafetensorsEntry& entry) const;
  // The tensor inside the mapping: never to be written to, and gone with this file. A copy where
  // the file has it at an address that its type cannot be read from.
  Tensor view(const SafetensorsEntry& entry) const;
  // Gives back the memory that reading the tensor has taken.
  void release(const SafetensorsEntry& entry) const;

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  absl::Status parse();
  MappedFile file_;
  int64_t data_start_ = 0;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// A tensor that is made when it is written, so that a file larger than memory can be.
struct TensorSource {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  std::function<absl::StatusOr<Tensor>()> read;  // of that dtype and shape, on any device

  static TensorSource of(NamedTensor tensor);
  int64_t bytes() const;
};

// The tensors of each file, in the order given: a file ends before it would pass `file_bytes`,
// unless one tensor alone does.
std::vector<std::vector<TensorSource>> split_into_files(std::vector<TensorSource> tensors,
                                                        int64_t file_bytes);

// Writes `tensors` (any device; copied to the host one at a time) as one file, in the order of the
// reference writer (descending alignment of the dtype, then name), atomically. Returns size and
// checksum. `metadata` is written as it is; pass {{"format", "pt"}} for Hugging Face's loaders.
struct WrittenFile {
  std::string name;
  int64_t size;
  uint64_t checksum;
};
absl::StatusOr<WrittenFile> write_safetensors(const fs::path& path,
                                              std::vector<TensorSource> tensors,
                                              const std::map<std::string, std::string>& metadata);
absl::StatusOr<WrittenFile> write_safetensors(const fs::path& path,
                                              const std::vector<NamedTensor>& tensors,
                                              const std::map<std::string, std::string>& metadata);

// "[2, 3]"
std::string shape_text(const std::vector<int64_t>& shape);

// "F32", "BF16", ...; null for a type that weft does not write.
const char* safetensors_dtype(at::ScalarType dtype);

}  // namespace weft
