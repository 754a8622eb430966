#include "trainer/out_of_memory.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"
#include <c10/util/Exception.h>

#include "recipes/available_memory.h"
#include "recipes/fit.h"
#include "recipes/plan.h"

namespace weft {
namespace {

// "it asked for .., ": the size as LibTorch's allocators write it, in bytes or in words.
std::string asked_for(const char* message) {
  for (const char* words : {"you tried to allocate ", "Tried to allocate "}) {
    const char* found = std::strstr(message, words);
    if (found == nullptr) continue;
    const char* size = found + std::strlen(words);
    const char* end = std::strpbrk(size, ".,\n");
    // "2.00 GiB" has a dot of its own.
    if (end != nullptr && *end == '.' && end[1] >= '0' && end[1] <= '9') {
      end = std::strpbrk(end + 1, ".,\n");
    }
    return absl::StrCat("it asked for ",
                        std::string(size, end == nullptr ? size + std::strlen(size) : end),
                        " more; ");
  }
  return "";
}

bool is_out_of_memory(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         std::strstr(error.what(), "allocate memory") != nullptr;
}

}  // namespace

std::optional<absl::Status> out_of_memory(const std::exception& error, const Recipe& recipe,
                                          const Runtime& runtime) {
  if (!is_out_of_memory(error)) return std::nullopt;
  const auto* libtorch = dynamic_cast<const c10::Error*>(&error);
  const int width = static_cast<int>(c10::elementSize(runtime.types.compute));
  const int64_t needed = plan_memory(recipe, width).total();
  const int64_t available = available_memory(runtime.types.device.type());
  // Something else takes part of the memory if the recipe should have fitted.
  const auto limit = static_cast<int64_t>(0.8 * static_cast<double>(std::min(available, needed)));
  return run_failure(
      "training does not fit into memory: ",
      asked_for(libtorch == nullptr ? error.what() : libtorch->what_without_backtrace()),
      available_words(runtime.types.device.type()), ", of which this recipe was expected to take ",
      gib_text(static_cast<double>(needed)), "; ", fitting_words(recipe, width, limit));
}

}  // namespace weft
