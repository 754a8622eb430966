#include "cli/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace weft {

absl::Status print(const std::string& text) {
  const size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  if (written == text.size() && std::fflush(stdout) == 0) return absl::OkStatus();
  return run_failure("standard output: cannot be written: ", std::strerror(errno));
}

}  // namespace weft
