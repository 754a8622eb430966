#include "base/retrying_allocator.h"

#include <utility>

#include <c10/util/Exception.h>

namespace weft {

RetryingAllocator::RetryingAllocator(c10::Allocator& inner, std::function<void()> release)
    : inner_(inner), release_(std::move(release)) {}

c10::DataPtr RetryingAllocator::allocate(size_t bytes) {
  try {
    return inner_.allocate(bytes);
  } catch (const c10::Error&) {
    release_();
  }
  return inner_.allocate(bytes);
}

}  // namespace weft
