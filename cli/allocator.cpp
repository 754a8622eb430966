#include "cli/allocator.h"

#include <cstdio>
#include <utility>

#include <c10/core/CPUAllocator.h>

#include "base/retrying_allocator.h"

// jemalloc's settings, which it reads under this name before main. Training allocates the same
// large blocks step after step: freed pages are kept (a decay of -1) instead of being given back
// and cleared anew, and large blocks share the arenas of small ones, so that pieces of other sizes
// (experts have another number of tokens at every step) are put together again instead of piling
// up. Address space is not taken ahead of use, as a limit (`ulimit -d`) counts it. Huge pages,
// where the system gives them to those who ask: decoding a token from a thousand small tensors
// waits for the tables of small pages otherwise.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf =  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
    "dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:0,narenas:1,thp:always,retain:false";
}

// jemalloc's; not there where sanitizers bring an allocator of their own.
extern "C" int mallctl(const char* name, void* old, size_t* old_size, void* value,
                       size_t value_size) __attribute__((weak));

namespace weft {
namespace {

void give_back_kept_memory(bool is_first) {
  // Of all arenas, however many an environment variable asks for (MALLCTL_ARENAS_ALL).
  const int error = mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);
  if (!is_first) return;
  std::fprintf(stderr,
               error == 0
                   ? "weft: memory is short: what was kept of freed memory is given back "
                     "whenever none is left, which takes time\n"
                   : "weft: memory is short, and none of the freed memory can be given back\n");
}

}  // namespace

void give_back_kept_memory_when_short() {
  if (mallctl == nullptr) return;
  // Tensors that end with the program still give their memory back to it.
  static auto* const allocator = new RetryingAllocator(
      *c10::GetDefaultCPUAllocator(),
      [is_first = true]() mutable { give_back_kept_memory(std::exchange(is_first, false)); });
  c10::SetCPUAllocator(allocator);
}

}  // namespace weft
