#include "base/retrying_allocator.h"

#include <cstring>
#include <utility>

#include <c10/util/Exception.h>

namespace weft {

RetryingAllocator::RetryingAllocator(c10::Allocator& inner, std::function<void()> release)
    : inner_(inner), release_(std::move(release)) {}

c10::DataPtr RetryingAllocator::allocate(size_t bytes) {
  try {
    return inner_.allocate(bytes);
  } catch (const c10::Error& error) {
    if (std::strstr(error.what_without_backtrace(), "allocate memory") == nullptr) throw;
  }
  const std::lock_guard lock(mutex_);
  release_();
  return inner_.allocate(bytes);
}

}  // namespace weft
