#pragma once
// The text of a recipe before it is YAML, and pieces of it in messages.
#include <optional>
#include <string>

namespace weft {

// What stands in the way of reading a text as YAML, and where (1-based, in bytes).
struct TextProblem {
  std::string message;
  int line = 0;
  int column = 0;
};

// The first control character, byte that is not UTF-8, or tab that indents (about which yaml-cpp
// says nothing helpful).
std::optional<TextProblem> refuse_text(const std::string& text);

// Whether the quote that starts a value at byte `at` is closed before the text ends; yaml-cpp takes
// the end for one. True if no quote starts there.
bool quote_is_closed(const std::string& text, size_t at);

// `text` with control characters as \xNN, which is also how YAML writes them inside double quotes.
std::string escape_controls(const std::string& text);

// `text` in single quotes for a message: control characters escaped, cut after 60 bytes.
std::string quoted(const std::string& text);

}  // namespace weft
