#include <algorithm>
#include <limits>
#include <system_error>

#include "base/check.h"
#include "data/shards.h"

namespace weft {
namespace {

constexpr int64_t kWideVocabulary = 65500;  // from here on 16 bits a token are not enough (2.1)
constexpr uint8_t kCodeU16 = 8;
constexpr uint8_t kCodeI32 = 4;
constexpr int64_t kMaxSequence = std::numeric_limits<int32_t>::max();

fs::path with_ending(fs::path prefix, const char* ending) { return prefix += ending; }

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <class T>
absl::Status write_tokens(AtomicFile& file, std::span<const int32_t> tokens) {
  std::vector<T> narrow(tokens.begin(), tokens.end());
  return file.write(std::as_bytes(std::span(narrow)));
}

// The whole .idx: sequences stand in .bin one after the other from byte 0.
std::string index_text(int width, const std::vector<int32_t>& lengths,
                       const std::vector<int64_t>& documents) {
  std::string text("MMIDIDX\0\0", 9);
  text.reserve(34 + 12 * lengths.size() + 8 * documents.size());
  put<uint64_t>(text, 1);
  put<uint8_t>(text, width == 2 ? kCodeU16 : kCodeI32);
  put<uint64_t>(text, lengths.size());
  put<uint64_t>(text, documents.size());
  for (const int32_t length : lengths) put(text, length);
  int64_t offset = 0;
  for (const int32_t length : lengths) {
    put(text, offset);
    offset += int64_t{length} * width;
  }
  for (const int64_t first : documents) put(text, first);
  return text;
}

}  // namespace

TokenShardsWriter::TokenShardsWriter(fs::path prefix, AtomicFile bin, int64_t vocab_size)
    : prefix_(std::move(prefix)),
      bin_(std::move(bin)),
      vocab_size_(vocab_size),
      width_(vocab_size < kWideVocabulary ? 2 : 4) {}

absl::StatusOr<TokenShardsWriter> TokenShardsWriter::create(const fs::path& prefix,
                                                            int64_t vocab_size) {
  WEFT_ASSIGN_OR_RETURN(AtomicFile bin, AtomicFile::create(with_ending(prefix, ".bin")));
  return TokenShardsWriter(prefix, std::move(bin), vocab_size);
}

absl::Status TokenShardsWriter::append(std::span<const int32_t> tokens) {
  if (tokens.empty()) return absl::OkStatus();
  const auto [lowest, highest] = std::minmax_element(tokens.begin(), tokens.end());
  WEFT_CHECK(*lowest >= 0 && *highest < vocab_size_, "ids ", *lowest, " to ", *highest, " of ",
             vocab_size_);
  WEFT_RETURN_IF_ERROR(width_ == 2 ? write_tokens<uint16_t>(bin_, tokens)
                                   : write_tokens<int32_t>(bin_, tokens));
  const bool opens = documents_.back() == static_cast<int64_t>(lengths_.size());
  if (opens) lengths_.push_back(0);
  auto left = static_cast<int64_t>(tokens.size());
  while (true) {
    const int64_t fits = std::min(left, kMaxSequence - lengths_.back());
    lengths_.back() += static_cast<int32_t>(fits);
    left -= fits;
    if (left == 0) return absl::OkStatus();
    lengths_.push_back(0);
  }
}

void TokenShardsWriter::end_document() {
  const auto sequences = static_cast<int64_t>(lengths_.size());
  if (documents_.back() < sequences) documents_.push_back(sequences);
}

absl::Status TokenShardsWriter::add_document(std::span<const int32_t> tokens) {
  WEFT_RETURN_IF_ERROR(append(tokens));
  end_document();
  return absl::OkStatus();
}

absl::Status TokenShardsWriter::finish() {
  end_document();
  const fs::path index = with_ending(prefix_, ".idx");
  // An older index must not be seen beside the new tokens.
  std::error_code error;
  fs::remove(index, error);
  if (error) return run_failure("cannot replace ", index.string(), ": ", error.message());
  WEFT_RETURN_IF_ERROR(bin_.commit());
  return write_file(index, index_text(width_, lengths_, documents_));
}

}  // namespace weft
