#pragma once
// Tokens on disk in the Megatron .bin/.idx format (spec/formats.md 2), memory mapped, and the cache
// that turns text into them once. docs/data.md describes both.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

#include "data/tokenizers/tokenizer.h"

namespace weft {

// Documents of token ids in a mapped .bin/.idx pair. Every length and offset was checked against the
// size of .bin, and every id against the vocabulary, when it was opened.
class TokenShards final {
 public:
  // `prefix` without ".bin" / ".idx". Errors name the file, the field, its value and what is allowed;
  // an id >= vocab_size names the document and the position.
  static absl::StatusOr<TokenShards> open(const fs::path& prefix, int64_t vocab_size);

  int64_t num_documents() const { return static_cast<int64_t>(starts_.size()) - 1; }
  int64_t num_tokens() const { return starts_.back(); }
  int64_t document_tokens(int64_t document) const { return starts_[document + 1] - starts_[document]; }
  // Bytes of the original text, where the tokenizer is `bytes`: tokens that are not end-of-document.
  int64_t num_text_bytes() const { return text_bytes_; }

  // Tokens [begin, end) of a document as int64 into `out`.
  void read(int64_t document, int64_t begin, int64_t end, std::span<int64_t> out) const;

 private:
  TokenShards() = default;
  struct Piece {
    int64_t token;        // index of its first token inside the whole of the shards
    int64_t byte_offset;  // in .bin
  };
  std::vector<MappedFile> bin_;       // exactly one
  int dtype_code_ = 0;
  std::vector<int64_t> starts_;       // [documents + 1] first token of each document
  std::vector<Piece> pieces_;         // sequences in order
  int64_t text_bytes_ = 0;
};

// Writes documents to <prefix>.bin and .idx, .idx last. A document's tokens are its text's ids and the
// end-of-document id.
class TokenShardsWriter final {
 public:
  static absl::StatusOr<TokenShardsWriter> create(const fs::path& prefix, int64_t vocab_size);
  absl::Status add_document(std::span<const int32_t> tokens);
  absl::Status finish();

 private:
  TokenShardsWriter(fs::path prefix, AtomicFile bin, int width)
      : prefix_(std::move(prefix)), bin_(std::move(bin)), width_(width) {}
  fs::path prefix_;
  AtomicFile bin_;
  int width_;  // 2 (u16) below 65,500 ids, else 4 (i32)
  std::vector<int32_t> lengths_;
};

// Called while text is tokenized: bytes done and in all.
using DataProgress = std::function<void(const std::string& source, int64_t done, int64_t total)>;

// The shards of `path`: a .bin/.idx prefix is opened as it is; a folder of .txt files (sorted by name,
// subfolders included) or one .txt file is tokenized into `cache` on first use, under a name made from
// the tokenizer and a hash of the contents. Empty files are skipped; no text at all is an error.
absl::StatusOr<TokenShards> open_source(const fs::path& path, const Tokenizer& tokenizer,
                                        int64_t vocab_size, const fs::path& cache,
                                        const DataProgress& progress);

// What is wrong with `path` as a source, without reading its text: it is missing, or no .txt and no
// .bin/.idx pair. Empty if it looks right.
std::string check_source(const fs::path& path);

}  // namespace weft
