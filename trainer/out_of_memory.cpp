#include "trainer/out_of_memory.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"
#include <c10/util/Exception.h>

#include "models/kernels/host_stash.h"
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
  const auto says = [&](const char* words) { return std::strstr(error.what(), words) != nullptr; };
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr || says("allocate memory") ||
         says("CUDA error: out of memory") || says("CUBLAS_STATUS_ALLOC_FAILED");
}

}  // namespace

std::optional<absl::Status> out_of_memory(const std::exception& error, const Recipe& recipe,
                                          const Runtime& runtime) {
  const bool in_host = dynamic_cast<const HostMemoryError*>(&error) != nullptr;
  if (!in_host && !is_out_of_memory(error)) return std::nullopt;
  const auto* libtorch = dynamic_cast<const c10::Error*>(&error);
  const int width = static_cast<int>(c10::elementSize(runtime.types.compute));
  const MemoryPlan plan = plan_memory(recipe, width);
  Room room = room_here(recipe);
  // Something else takes part of the memory if the recipe should have fitted.
  const auto less = [](int64_t available, int64_t needed) {
    return static_cast<int64_t>(0.8 * static_cast<double>(std::min(available, needed)));
  };
  if (in_host) {
    room.host = less(room.host, plan.host);
    return run_failure("what memory.offload takes out of the GPU does not fit into its host: ",
                       available_words(at::kCPU), ", of which this recipe was expected to take ",
                       gib_text(static_cast<double>(plan.host)), "; ",
                       fitting_words(recipe, width, room));
  }
  room.device = less(room.device, plan.total());
  return run_failure(
      "training does not fit into memory: ",
      asked_for(libtorch == nullptr ? error.what() : libtorch->what_without_backtrace()),
      available_words(runtime.types.device.type()), ", of which this recipe was expected to take ",
      gib_text(static_cast<double>(plan.total())), "; ", fitting_words(recipe, width, room));
}

}  // namespace weft
