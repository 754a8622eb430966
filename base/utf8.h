#pragma once
// Text as UTF-8: where its characters begin and end.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace weft {

// The bytes of the UTF-8 character at byte `at`, 0 if there is none. Overlong forms and surrogates
// pass: whoever gives them a meaning must look closer.
size_t utf8_length(std::string_view text, size_t at);

// The first byte that is not part of a UTF-8 character.
std::optional<size_t> first_not_utf8(std::string_view text);

// Code points, as Python's len counts them. REQUIRES: UTF-8.
int64_t count_code_points(std::string_view text);

}  // namespace weft
