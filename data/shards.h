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

// Documents of token ids in a mapped .bin/.idx pair. Every length and offset was checked against
// the size of .bin, and every id against the vocabulary, when it was opened.
class TokenShards final {
 public:
  // `prefix` without ".bin" / ".idx". Errors name the file, the field, its value and what is
  // allowed; an id >= vocab_size names the document and the position.
  static absl::StatusOr<TokenShards> open(const fs::path& prefix, int64_t vocab_size,
                                          int32_t end_of_document = 256);

  int64_t num_documents() const { return static_cast<int64_t>(starts_.size()) - 1; }
  int64_t num_tokens() const { return starts_.back(); }
  int64_t document_tokens(int64_t document) const {
    return starts_[document + 1] - starts_[document];
  }
  // Tokens of a document without the end-of-document id that it may close with.
  int64_t text_tokens(int64_t document) const {
    return document_tokens(document) - (closed_[document] ? 1 : 0);
  }
  // Bytes of the original text, where the tokenizer is `bytes`: tokens that are not
  // end-of-document.
  int64_t num_text_bytes() const { return text_bytes_; }
  int32_t end_of_document() const { return end_of_document_; }
  // 48 hex digits of all tokens and of where documents and their pieces start, read anew.
  std::string fingerprint() const;

  // Tokens [begin, end) of a document as int64 into `out`.
  // REQUIRES: 0 <= begin <= end <= document_tokens(document), out.size() >= end - begin.
  void read(int64_t document, int64_t begin, int64_t end, std::span<int64_t> out) const;

 private:
  TokenShards(MappedFile bin, int dtype_code, int32_t end_of_document)
      : bin_(std::move(bin)), dtype_code_(dtype_code), end_of_document_(end_of_document) {}
  absl::Status scan(int64_t vocab_size);

  struct Piece {
    int64_t token;        // index of its first token inside the whole of the shards
    int64_t byte_offset;  // in .bin
  };
  MappedFile bin_;
  int dtype_code_;
  int32_t end_of_document_;
  std::vector<int64_t> starts_;  // [documents + 1] first token of each document
  std::vector<bool> closed_;     // [documents] whether the last token is end_of_document
  std::vector<Piece> pieces_;    // sequences in order
  int64_t text_bytes_ = 0;
};

// Writes documents to <prefix>.bin and .idx, .idx last, so that a pair is complete or has no .idx.
// A document's tokens are its text's ids and the end-of-document id.
class TokenShardsWriter final {
 public:
  static absl::StatusOr<TokenShardsWriter> create(const fs::path& prefix, int64_t vocab_size);

  // Adds to the open document. REQUIRES: 0 <= id < vocab_size.
  absl::Status append(std::span<const int32_t> tokens);
  // Ends the open document; one without tokens is left out. One over 2^31 - 1 tokens, more than a
  // sequence of the format can hold, becomes several sequences of one document.
  void end_document();
  // A whole document.
  absl::Status add_document(std::span<const int32_t> tokens);
  // Makes the pair visible; an older one of this name is gone then, or stays if this fails before.
  absl::Status finish();

 private:
  TokenShardsWriter(fs::path prefix, AtomicFile bin, int64_t vocab_size);
  fs::path prefix_;
  AtomicFile bin_;
  int64_t vocab_size_;
  int width_;                          // 2 (u16) below 65,500 ids, else 4 (i32)
  std::vector<int32_t> lengths_;       // [sequences] tokens
  std::vector<int64_t> documents_{0};  // [documents + 1] first sequence of each
};

// Called while text is tokenized: bytes done and in all.
using DataProgress = std::function<void(const std::string& source, int64_t done, int64_t total)>;

// The shards of `path`: a .bin/.idx prefix is opened as it is; a folder of .txt files (sorted by
// name, subfolders included) or one .txt file is tokenized into `cache` on first use, under a name
// made from the tokenizer and a hash of names and contents. Each file is a document; empty files
// are skipped; no text at all is an error. A cached pair that is damaged is made again. Processes
// that ask for the same text at once do not disturb each other. `progress` may be empty.
absl::StatusOr<TokenShards> open_source(const fs::path& path, const Tokenizer& tokenizer,
                                        int64_t vocab_size, const fs::path& cache,
                                        const DataProgress& progress);

// Whether `path` holds text, which needs a tokenizer, and not tokens (a .bin/.idx pair).
bool is_text_source(const fs::path& path);

// What is wrong with `path` as a source, without reading its text: it is missing, or no .txt and no
// .bin/.idx pair. The message names the path. Empty if it looks right.
std::string check_source(const fs::path& path);

}  // namespace weft
