#pragma once
// Standard output, where commands print what they are asked for. Log lines go to standard error.
#include <string>

#include "base/status.h"

namespace weft {

// Writes `text` to standard output at once. A run failure says why it cannot be written there, such
// as a full disk.
absl::Status print(const std::string& text);

}  // namespace weft
