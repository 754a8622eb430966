#pragma once
// Text to token ids and back. `bytes` is the only kind so far: ids 0-255 are the bytes, 256 ends a
// document; every text has exactly one encoding and no text is out of reach.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/schema.h"

namespace weft {

enum class TokenizerKind { kBytes };
constexpr auto enum_names(TokenizerKind) {
  return std::array{EnumName{TokenizerKind::kBytes, "bytes"}};
}

struct TokenizerConfig {
  TokenizerKind kind = TokenizerKind::kBytes;
  static void describe(auto& self, auto& schema) {
    schema.field("kind", self.kind, any(),
                 "bytes: ids 0-255, 256 = end of document, vocabulary 257");
  }
};

class Tokenizer final {
 public:
  explicit Tokenizer(const TokenizerConfig& config) : config_(config) {}

  int64_t vocab_size() const { return 257; }
  int32_t end_of_document() const { return 256; }
  // Identifies the encoding in caches and checkpoints.
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
