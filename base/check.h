#pragma once
// WEFT_CHECK(condition, what...): an invariant of our own code. When it is broken the program prints
// the place, the condition and `what`, and aborts. What a user can cause is not checked here but
// reported as absl::Status or Problems (base/status.h, base/schema.h).
//
//   WEFT_CHECK(step < total_steps, "step ", step, " of ", total_steps);
#include <sstream>
#include <string>

namespace weft::internal {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& what);

template <class... Parts>
std::string join_parts(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace weft::internal

#define WEFT_CHECK(condition, ...)                                                     \
  do {                                                                                 \
    if (!(condition)) [[unlikely]]                                                     \
      ::weft::internal::check_failed(__FILE__, __LINE__, #condition,                   \
                                     ::weft::internal::join_parts(__VA_ARGS__));       \
  } while (false)
