#include "trainer/metrics.h"

#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>

namespace weft {
namespace {

std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  char digits[32];
  char* end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  std::string text(digits, end);
  // "3" would read back as an integer.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

// A name as a JSON string. Names hold what users call their sources.
std::string quoted(const std::string& name) {
  return nlohmann::json(name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string to_json(const MetricsRow& row) {
  std::string text = "{";
  for (const auto& [name, value] : row.values) {
    if (text.size() > 1) text += ",";
    text += quoted(name) + ":";
    const int64_t* integer = std::get_if<int64_t>(&value);
    text += integer != nullptr ? std::to_string(*integer) : number(std::get<double>(value));
  }
  return text + "}";
}

absl::StatusOr<MetricsWriter> MetricsWriter::open(const fs::path& path) {
  WEFT_ASSIGN_OR_RETURN(AppendFile file, AppendFile::open(path, AppendFile::Mode::kAppend));
  return MetricsWriter(std::move(file));
}

absl::Status MetricsWriter::write(const MetricsRow& row) {
  return file_.write(to_json(row) + "\n");
}

}  // namespace weft
