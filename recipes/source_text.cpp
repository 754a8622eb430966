#include "recipes/source_text.h"

#include "absl/strings/str_cat.h"

#include "base/utf8.h"

namespace weft {
namespace {

// Why the character of `length` bytes (0: none) at `at` cannot be in a recipe, or "".
std::string refuse_character(const std::string& text, size_t at, size_t length, bool indenting) {
  const unsigned char c = text[at];
  const std::string hex = absl::StrCat("0x", absl::Hex(c, absl::kZeroPad2));
  if (length == 0) return "byte " + hex + " is not UTF-8 text";
  if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7F) {
    return "control character " + hex + " is not allowed in a recipe";
  }
  if (c != '\t' || !indenting) return "";
  const size_t next = text.find_first_not_of(" \t\r", at);
  const bool blank = next == std::string::npos || text[next] == '\n' || text[next] == '#';
  return blank ? "" : "a tab cannot indent YAML; use spaces";
}

}  // namespace

std::optional<TextProblem> refuse_text(const std::string& text) {
  int line = 1;
  size_t line_start = 0;
  bool indenting = true;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const size_t length = utf8_length(text, i);
    std::string problem = refuse_character(text, i, length, indenting);
    if (!problem.empty()) {
      return TextProblem{std::move(problem), line, static_cast<int>(i - line_start) + 1};
    }
    indenting = c == '\n' || (indenting && (c == ' ' || c == '\t'));
    i += length;
    if (c == '\n') {
      ++line;
      line_start = i;
    }
  }
  return std::nullopt;
}

bool quote_is_closed(const std::string& text, size_t at) {
  // An anchor may stand in front: "&a 'text'".
  while (at < text.size() && text[at] == '&') {
    at = text.find_first_of(" \n", at);
    at = text.find_first_not_of(" \n", at);
  }
  if (at >= text.size() || (text[at] != '"' && text[at] != '\'')) return true;
  const char quote = text[at];
  for (++at; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (text[at] == quote) {
      const bool doubled = quote == '\'' && at + 1 < text.size() && text[at + 1] == quote;
      if (!doubled) return true;
      ++at;
    }
  }
  return false;
}

std::string escape_controls(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) {
      escaped += c;
    } else {
      absl::StrAppend(&escaped, "\\x", absl::Hex(byte, absl::kZeroPad2));
    }
  }
  return escaped;
}

std::string quoted(const std::string& text) {
  constexpr size_t kLongest = 60;
  std::string shown = escape_controls(text);
  if (shown.size() > kLongest) {
    size_t cut = kLongest;
    while (cut > 0 && (shown[cut] & 0xC0) == 0x80) --cut;  // not inside a UTF-8 character
    shown = shown.substr(0, cut) + "...";
  }
  return "'" + shown + "'";
}

}  // namespace weft
