#include "base/utf8.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Utf8, CharactersHaveOneToFourBytes) {
  const std::string_view text = "aé€😀";
  for (const auto& [at, length] : {std::pair{0, 1}, {1, 2}, {3, 3}, {6, 4}, {10, 0}}) {
    EXPECT_EQ(utf8_length(text, at), length) << at;
  }
  EXPECT_EQ(count_code_points(text), 4);
  EXPECT_EQ(count_code_points("e\u0301"), 2);  // a letter and a combining accent
  EXPECT_EQ(count_code_points(""), 0);
  EXPECT_EQ(first_not_utf8(text), std::nullopt);
  EXPECT_EQ(first_not_utf8(""), std::nullopt);
}

TEST(Utf8, TheFirstStrayOrCutByteIsFound) {
  EXPECT_EQ(first_not_utf8("ab\xff"), 2u);
  EXPECT_EQ(first_not_utf8("é\x80"), 2u);      // a continuation of nothing
  EXPECT_EQ(first_not_utf8("a\xe2\x82"), 1u);  // cut by the end
  EXPECT_EQ(first_not_utf8("\xe2\x82z"), 0u);  // cut by another character
  EXPECT_EQ(first_not_utf8("\xc0\xaf"), 0u);
  EXPECT_EQ(first_not_utf8("\xf5\x80\x80\x80"), 0u);
}

}  // namespace
}  // namespace weft
