#include "data/tokenizers/tokenizer.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(ByteTokenizer, EveryByteIsItsOwnId) {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  const Tokenizer tokenizer(TokenizerConfig{});
  const std::vector<int32_t> ids = tokenizer.encode(text);
  ASSERT_EQ(ids.size(), 256u);
  for (int32_t byte = 0; byte < 256; ++byte) EXPECT_EQ(ids[static_cast<size_t>(byte)], byte);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_TRUE(tokenizer.encode("").empty());
}

TEST(ByteTokenizer, TheEndOfADocumentHasNoText) {
  const Tokenizer tokenizer(TokenizerConfig{});
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{104, 105, 256, 33}), "hi!");
  EXPECT_EQ(tokenizer.end_of_document(), tokenizer.vocab_size() - 1);
}

TEST(ByteTokenizerDeathTest, AnIdBeyondTheVocabularyIsAProgrammerError) {
  const Tokenizer tokenizer(TokenizerConfig{});
  EXPECT_DEATH(tokenizer.decode(std::vector<int32_t>{257}), "token id 257 of 257");
}

TEST(IdsTokenizer, KnowsTheEndOfADocumentAndNoText) {
  const Tokenizer tokenizer({.kind = TokenizerKind::kIds, .end_id = 7});
  EXPECT_FALSE(tokenizer.reads_text());
  EXPECT_EQ(tokenizer.end_of_document(), 7);
  EXPECT_EQ(tokenizer.vocab_size(), 8);
}

TEST(IdsTokenizerDeathTest, TextIsAProgrammersError) {
  const Tokenizer tokenizer({.kind = TokenizerKind::kIds, .end_id = 7});
  EXPECT_DEATH(tokenizer.encode("a"), "a tokenizer of kind ids");
  EXPECT_DEATH(tokenizer.decode(std::vector<int32_t>{1}), "a tokenizer of kind ids");
}

}  // namespace
}  // namespace weft
