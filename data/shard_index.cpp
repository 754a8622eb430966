#include "data/shard_index.h"

#include <string_view>

namespace weft {
namespace {

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);

}  // namespace

int64_t token_width(int dtype_code) {
  int64_t width = 0;
  with_token_type(dtype_code, [&](auto type) { width = sizeof(type); });
  return width;
}

absl::StatusOr<ShardIndex> ShardIndex::parse(const MappedFile& file, int64_t bin_bytes) {
  WEFT_ASSIGN_OR_RETURN(const ShardIndex index, parse_header(file));
  const std::string name = file.path().string();
  WEFT_RETURN_IF_ERROR(index.check_documents(name));
  WEFT_RETURN_IF_ERROR(index.check_sequences(name, bin_bytes));
  return index;
}

absl::StatusOr<ShardIndex> ShardIndex::parse_header(const MappedFile& file) {
  const std::string name = file.path().string();
  const std::byte* data = file.bytes().data();
  const auto size = static_cast<int64_t>(file.bytes().size());
  if (size < kHeaderBytes) {
    return bad_input(name, ": size: is ", size, " bytes, must be at least ", kHeaderBytes);
  }
  if (std::memcmp(data, kMagic.data(), kMagic.size()) != 0) {
    return bad_input(name, ": magic: the file does not start with 'MMIDIDX' and two zero bytes");
  }
  if (const auto version = load_unaligned<uint64_t>(data + 9); version != 1) {
    return bad_input(name, ": version: is ", version, ", must be 1");
  }
  const int dtype_code = load_unaligned<uint8_t>(data + 17);
  if (token_width(dtype_code) == 0) {
    return bad_input(name, ": dtype code: is ", dtype_code,
                     ", must be 1 to 5 or 8 (integers; 6 and 7 differ between writers)");
  }
  const auto sequences = load_unaligned<uint64_t>(data + 18);
  const auto entries = load_unaligned<uint64_t>(data + 26);
  const auto room = static_cast<uint64_t>(size - kHeaderBytes);
  if (sequences > room / 12) {
    return bad_input(name, ": number of sequences: is ", sequences, ", but a file of ", size,
                     " bytes holds at most ", room / 12);
  }
  const uint64_t rest = room - 12 * sequences;
  if (entries < 1 || entries > rest / 8) {
    return bad_input(name, ": entries of the document index: are ", entries,
                     ", must be from 1 to the ", rest / 8, " that the file has room for");
  }
  const uint64_t modes = rest - 8 * entries;
  if (modes != 0 && modes != sequences) {
    return bad_input(name, ": size: is ", size, " bytes, but ", sequences, " sequences and ",
                     entries, " entries of the document index make ",
                     kHeaderBytes + 12 * sequences + 8 * entries);
  }
  const ShardIndex index(data + kHeaderBytes, dtype_code, static_cast<int64_t>(sequences),
                         static_cast<int64_t>(entries));
  if (modes != 0) WEFT_RETURN_IF_ERROR(index.check_modes(name));
  return index;
}

absl::Status ShardIndex::check_modes(const std::string& name) const {
  const int64_t modes = 12 * sequences_ + 8 * entries_;
  for (int64_t i = 0; i < sequences_; ++i) {
    const int mode = at<int8_t>(modes + i);
    if (mode == 0) continue;
    return bad_input(name, ": mode of sequence ", i, ": is ", mode,
                     ", must be 0 (text): weft does not read multimodal data");
  }
  return absl::OkStatus();
}

absl::Status ShardIndex::check_documents(const std::string& name) const {
  int64_t last = 0;
  for (int64_t j = 0; j < entries_; ++j) {
    const int64_t first = document(j);
    if (j == 0 && first != 0) {
      return bad_input(name, ": document index 0: is ", first, ", must be 0");
    }
    if (first < last || first > sequences_) {
      return bad_input(name, ": document index ", j, ": is ", first, ", must be from ", last,
                       " (the entry before) to ", sequences_, " (the number of sequences)");
    }
    last = first;
  }
  if (last != sequences_) {
    return bad_input(name, ": document index ", entries_ - 1, ": is ", last, ", the last must be ",
                     sequences_, " (the number of sequences)");
  }
  return absl::OkStatus();
}

// Lengths and offsets against the size of .bin. Sequences that overlap so much that together they
// are longer than .bin are refused, which also bounds the work that a hostile index can cause.
absl::Status ShardIndex::check_sequences(const std::string& name, int64_t bin_bytes) const {
  const int64_t width = token_width(dtype_code_);
  int64_t total = 0;
  for (int64_t i = 0; i < sequences_; ++i) {
    const int64_t tokens = length(i);
    if (tokens < 0) {
      return bad_input(name, ": length of sequence ", i, ": is ", tokens, ", must be at least 0");
    }
    const int64_t bytes = tokens * width;
    const int64_t begin = offset(i);
    if (begin < 0 || begin > bin_bytes || bytes > bin_bytes - begin) {
      return bad_input(name, ": sequence ", i, ": ", bytes, " bytes at offset ", begin,
                       " are not inside the .bin file of ", bin_bytes, " bytes");
    }
    if (bytes > bin_bytes - total) {
      return bad_input(name, ": lengths: sequences 0 to ", i, " need ", total + bytes,
                       " bytes, but the .bin file has ", bin_bytes);
    }
    total += bytes;
  }
  return absl::OkStatus();
}

}  // namespace weft
