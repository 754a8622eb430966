#pragma once
// A second attempt at host memory, for programs whose allocator keeps freed memory.
#include <cstddef>
#include <functional>
#include <mutex>

#include <c10/core/Allocator.h>

namespace weft {

// LibTorch's allocator `inner`; where it finds no memory, `release` runs and it is asked again, for
// one thread at a time: memory that another thread is about to give back counts.
class RetryingAllocator final : public c10::Allocator {
 public:
  RetryingAllocator(c10::Allocator& inner, std::function<void()> release);

  // Errors: those of `inner`, the second time.
  c10::DataPtr allocate(size_t bytes) override;

  c10::DeleterFnPtr raw_deleter() const override { return inner_.raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    inner_.copy_data(to, from, bytes);
  }

 private:
  c10::Allocator& inner_;
  std::mutex mutex_;
  std::function<void()> release_;
};

}  // namespace weft
