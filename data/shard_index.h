#pragma once
// The .idx file of a Megatron indexed dataset (spec/formats.md 2.1): parsed, and checked so that
// nothing it says leads outside of itself or of its .bin.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/file.h"
#include "base/status.h"

namespace weft {

// The value at `from`. The arrays of .idx start at byte 34 and .bin has no alignment, so every load
// is a copy.
template <class T>
T load_unaligned(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Calls `visit` with a value of the C++ type of a dtype code; false for a code that weft does not
// read.
template <class Visit>
bool with_token_type(int dtype_code, Visit&& visit) {
  switch (dtype_code) {
    case 1:
      visit(uint8_t{});
      return true;
    case 2:
      visit(int8_t{});
      return true;
    case 3:
      visit(int16_t{});
      return true;
    case 4:
      visit(int32_t{});
      return true;
    case 5:
      visit(int64_t{});
      return true;
    case 8:
      visit(uint16_t{});
      return true;
    default:
      return false;
  }
}

// Bytes of a token, or 0 for a code that weft does not read.
int64_t token_width(int dtype_code);

// The arrays of a checked .idx; a view into its mapping.
class ShardIndex final {
 public:
  // Errors name the file, the field, its value and what is allowed. `bin_bytes`: size of the .bin.
  static absl::StatusOr<ShardIndex> parse(const MappedFile& file, int64_t bin_bytes);

  int dtype_code() const { return dtype_code_; }
  int64_t sequences() const { return sequences_; }
  int64_t documents() const { return entries_ - 1; }
  // Tokens of sequence i and the byte offset of its first in .bin.
  int32_t length(int64_t i) const { return at<int32_t>(4 * i); }
  int64_t offset(int64_t i) const { return at<int64_t>(4 * sequences_ + 8 * i); }
  // First sequence of document j, in [0, documents()]; the last entry is sequences().
  int64_t document(int64_t j) const { return at<int64_t>(12 * sequences_ + 8 * j); }

  static constexpr int64_t kHeaderBytes = 34;

 private:
  ShardIndex(const std::byte* arrays, int dtype_code, int64_t sequences, int64_t entries)
      : arrays_(arrays), dtype_code_(dtype_code), sequences_(sequences), entries_(entries) {}
  static absl::StatusOr<ShardIndex> parse_header(const MappedFile& file);
  absl::Status check_modes(const std::string& name) const;
  absl::Status check_documents(const std::string& name) const;
  absl::Status check_sequences(const std::string& name, int64_t bin_bytes) const;

  template <class T>
  T at(int64_t byte) const {
    return load_unaligned<T>(arrays_ + byte);
  }

  const std::byte* arrays_;
  int dtype_code_;
  int64_t sequences_;
  int64_t entries_;  // of the document index
};

}  // namespace weft
