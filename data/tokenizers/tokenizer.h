#pragma once
// Text to token ids and back. `bytes`: ids 0-255 are the bytes, 256 ends a document; every text has
// exactly one encoding and no text is out of reach. `ids`: none, for data that another tokenizer
// made ids of; all that is known of it is the id that ends a document.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/schema.h"

namespace weft {

enum class TokenizerKind { kBytes, kIds };
constexpr auto enum_names(TokenizerKind) {
  return std::array{EnumName{TokenizerKind::kBytes, "bytes"}, EnumName{TokenizerKind::kIds, "ids"}};
}

struct TokenizerConfig {
  // The last id of the largest vocabulary that a model can have.
  static constexpr int64_t kMaxEndId = (1 << 24) - 1;

  TokenizerKind kind = TokenizerKind::kBytes;
  int64_t end_id = 0;
  static void describe(auto& self, auto& schema) {
    schema.field("kind", self.kind, any(),
                 "bytes: ids 0-255, 256 = end of document, vocabulary 257; ids: none, the data are "
                 ".bin/.idx pairs of token ids below model.vocab_size");
    schema.when(self.kind == TokenizerKind::kIds, "kind: ids", [&] {
      schema.field("end_id", self.end_id, required(within(0, kMaxEndId)),
                   "the id that ends a document in these data, such as eos_token_id of a model's "
                   "config.json; it is put before each document");
    });
  }
};

class Tokenizer final {
 public:
  explicit Tokenizer(const TokenizerConfig& config) : config_(config) {}

  // Whether it makes ids of text and text of ids; `ids` does not.
  bool reads_text() const { return config_.kind == TokenizerKind::kBytes; }
  // How many ids there are; with `ids` the fewest that a vocabulary can have.
  int64_t vocab_size() const { return reads_text() ? 257 : config_.end_id + 1; }
  int32_t end_of_document() const {
    return reads_text() ? 256 : static_cast<int32_t>(config_.end_id);
  }
  // Identifies the encoding in caches. REQUIRES, as do the two below: reads_text().
  std::string fingerprint() const { return "bytes-v1"; }

  // The ids of the text's bytes, without an end-of-document id. A long text may be encoded in
  // pieces: encode(a) followed by encode(b) is encode(ab).
  std::vector<int32_t> encode(std::string_view text) const;
  // Bytes of the ids in order; end_of_document gives nothing. REQUIRES: 0 <= id < vocab_size().
  std::string decode(std::span<const int32_t> ids) const;

 private:
  TokenizerConfig config_;
};

}  // namespace weft
