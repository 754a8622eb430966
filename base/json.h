#pragma once
// Reading JSON that weft did not necessarily write: headers, manifests, states. Unlike the
// library's own parser this one refuses what is ambiguous or made to exhaust memory.
//
//   WEFT_ASSIGN_OR_RETURN(const Json manifest, parse_json(text, {.depth = 4, .values =
//   1'000'000})); if (const Json* files = find_object(manifest, "files")) ...
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace weft {

using Json = nlohmann::json;

struct JsonLimits {
  size_t depth;   // of objects and arrays inside each other; 1: no nesting
  size_t values;  // objects, arrays and scalars in all
};

// The document in `text`. Bad input: no JSON, a key twice in one object, a byte 0, invalid UTF-8,
// or more than `limits` allow (parsing stops there). The message has no file name: add it with
// in_context.
absl::StatusOr<Json> parse_json(std::string_view text, JsonLimits limits);

// Members of an object by name and type; null or empty if `json` is no object, the member is absent
// or has another type. A count is an integer in [0, 2^63).
const Json* find_object(const Json& json, const std::string& name);
const Json* find_array(const Json& json, const std::string& name);
const std::string* find_string(const Json& json, const std::string& name);
std::optional<int64_t> find_count(const Json& json, const std::string& name);
std::optional<int64_t> as_count(const Json& json);

}  // namespace weft
