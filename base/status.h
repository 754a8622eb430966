#pragma once
// Errors that a user can cause travel as absl::Status up to main, which prints the message and
// picks the exit status. Debian 12's Abseil has no status macros, so they are here.
//
//   WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
//   WEFT_RETURN_IF_ERROR(check_header(file));
//   return bad_input(path, ": has ", n, " bytes, expected ", m);
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/check.h"

namespace weft {

// Input that is wrong before anything ran (exit status 2).
template <class... Parts>
absl::Status bad_input(const Parts&... parts) {
  return absl::InvalidArgumentError(internal::join_parts(parts...));
}

// Input that may be right but cannot be read here and now: no permission, no descriptor left, a
// newer format (exit status 2).
template <class... Parts>
absl::Status unreadable_input(const Parts&... parts) {
  return absl::FailedPreconditionError(internal::join_parts(parts...));
}

// Something that failed while running: a full disk, a lost file (exit status 1).
template <class... Parts>
absl::Status run_failure(const Parts&... parts) {
  return absl::InternalError(internal::join_parts(parts...));
}

// The message of `status` with `where` and ": " in front; the code stays.
absl::Status in_context(const absl::Status& status, const std::string& where);

// Exit status of a program that ends with `status`: 0 ok, 2 bad input, else 1.
int exit_status(const absl::Status& status);

}  // namespace weft

#define WEFT_RETURN_IF_ERROR(expression)                                                \
  do {                                                                                  \
    if (absl::Status weft_status = (expression); !weft_status.ok()) return weft_status; \
  } while (false)

#define WEFT_STATUS_CONCAT_INNER(a, b) a##b
#define WEFT_STATUS_CONCAT(a, b) WEFT_STATUS_CONCAT_INNER(a, b)
#define WEFT_ASSIGN_OR_RETURN(declaration, expression) \
  WEFT_ASSIGN_OR_RETURN_INNER(WEFT_STATUS_CONCAT(weft_or_, __LINE__), declaration, expression)
#define WEFT_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                        \
  if (!result.ok()) return result.status();                          \
  declaration = std::move(result).value()
