#include "data/tokenizers/tokenizer.h"

#include "base/check.h"

namespace weft {

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  WEFT_CHECK(reads_text(), "a tokenizer of kind ids");
  std::vector<int32_t> ids(text.size());
  for (size_t i = 0; i < text.size(); ++i) ids[i] = static_cast<unsigned char>(text[i]);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  WEFT_CHECK(reads_text(), "a tokenizer of kind ids");
  std::string text;
  text.reserve(ids.size());
  for (const int32_t id : ids) {
    WEFT_CHECK(0 <= id && id < vocab_size(), "token id ", id, " of ", vocab_size());
    if (id != end_of_document()) text.push_back(static_cast<char>(id));
  }
  return text;
}

}  // namespace weft
