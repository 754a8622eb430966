#include "recipes/scalar.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "base/check.h"
#include "recipes/source_text.h"

namespace weft {
namespace {

bool is_number_text(const std::string& text, double& value) {
  const char* begin = text.data();
  const char* end = begin + text.size();
  if (begin != end && *begin == '+') ++begin;
  // from_chars also takes "inf" and "nan", which are no numbers of a recipe.
  const bool starts = begin != end && (std::isdigit(static_cast<unsigned char>(*begin)) != 0 ||
                                       *begin == '-' || *begin == '.');
  if (!starts) return false;
  const auto [stop, error] = std::from_chars(begin, end, value);
  return error == std::errc() && stop == end && std::isfinite(value);
}

bool has_leading_zero(const std::string& text) {
  const size_t first = text.find_first_not_of("+-");
  return first != std::string::npos && first + 1 < text.size() && text[first] == '0' &&
         std::isdigit(static_cast<unsigned char>(text[first + 1])) != 0;
}

// Why a node is no number at all, or "".
std::string refuse_number(const YamlNode& node, double& value) {
  if (node.kind != YamlNode::Kind::kScalar) return found_words(node);
  if (node.quoted) return found_words(node);
  if (has_leading_zero(node.text)) {
    return absl::StrCat("is ", quoted(node.text), " with a leading zero");
  }
  return is_number_text(node.text, value) ? "" : found_words(node);
}

bool is_plain_text(const std::string& text) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '/' ||
           c == '-';
  };
  if (text.empty() || (std::isalpha(static_cast<unsigned char>(text[0])) == 0 && text[0] != '/')) {
    return false;
  }
  if (!std::all_of(text.begin(), text.end(), allowed)) return false;
  return text != "null" && text != "Null" && text != "NULL";
}

}  // namespace

std::string found_words(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "has no value";
    case YamlNode::Kind::kList:
      return "is a list";
    case YamlNode::Kind::kMap:
      return "is a map";
    case YamlNode::Kind::kScalar:
      break;
  }
  const std::string text = quoted(node.text);
  return node.quoted ? "is the text " + text + " in quotes" : "is " + text;
}

std::string read_plain(const YamlNode& node, bool& value) {
  const bool scalar = node.kind == YamlNode::Kind::kScalar && !node.quoted;
  if (!scalar || (node.text != "true" && node.text != "false")) return found_words(node);
  value = node.text == "true";
  return "";
}

std::string read_plain(const YamlNode& node, int64_t& value) {
  double number = 0;
  const std::string problem = refuse_number(node, number);
  if (!problem.empty()) return problem;
  const std::string text = node.text[0] == '+' ? node.text.substr(1) : node.text;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && stop == end) return "";
  if (error == std::errc::result_out_of_range && stop == end) {
    return found_words(node) + " and needs more than 64 bits";
  }
  // Up to 2^53 a double holds every integer, so that 1e6 and 2.0 are exact.
  constexpr double kExact = 9007199254740992.0;
  if (std::abs(number) > kExact || number != std::floor(number)) return found_words(node);
  value = static_cast<int64_t>(number);
  return "";
}

std::string read_plain(const YamlNode& node, double& value) { return refuse_number(node, value); }

std::string read_plain(const YamlNode& node, std::string& value) {
  if (node.kind != YamlNode::Kind::kScalar) return found_words(node);
  value = node.text;
  return "";
}

std::string write_plain(bool value) { return value ? "true" : "false"; }

std::string write_plain(int64_t value) { return std::to_string(value); }

std::string write_plain(double value) {
  char text[40];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  WEFT_CHECK(error == std::errc(), "a double has at most 24 characters");
  return std::string(text, end);
}

std::string write_plain(const std::string& value) {
  if (is_plain_text(value)) return value;
  const std::string marks = absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}});
  return absl::StrCat("\"", escape_controls(marks), "\"");
}

}  // namespace weft
