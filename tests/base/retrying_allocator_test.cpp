#include "base/retrying_allocator.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

namespace weft {
namespace {

// Memory of LibTorch's own allocator, if any is left.
class Limited : public c10::Allocator {
 public:
  bool has_memory = true;
  int calls = 0;

  c10::DataPtr allocate(size_t bytes) override {
    ++calls;
    TORCH_CHECK(has_memory, "can't allocate memory: you tried to allocate ", bytes, " bytes.");
    return own_.allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return own_.raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    own_.copy_data(to, from, bytes);
  }

 private:
  c10::Allocator& own_ = *c10::GetDefaultCPUAllocator();
};

TEST(RetryingAllocator, AsksOnceWhereThereIsMemory) {
  Limited inner;
  int releases = 0;
  RetryingAllocator allocator(inner, [&] { ++releases; });
  EXPECT_NE(allocator.allocate(64).get(), nullptr);
  EXPECT_EQ(inner.calls, 1);
  EXPECT_EQ(releases, 0);
}

TEST(RetryingAllocator, AsksAgainAfterARelease) {
  Limited inner;
  inner.has_memory = false;
  RetryingAllocator allocator(inner, [&] { inner.has_memory = true; });
  const c10::DataPtr memory = allocator.allocate(64);
  ASSERT_NE(memory.get(), nullptr);
  EXPECT_EQ(inner.calls, 2);
  const c10::DataPtr copy = allocator.clone(memory.get(), 64);
  EXPECT_NE(copy.get(), memory.get());
}

TEST(RetryingAllocator, PassesOtherErrorsOn) {
  class Refusing final : public Limited {
    c10::DataPtr allocate(size_t) override { TORCH_CHECK(false, "negative size"); }
  } inner;
  int releases = 0;
  RetryingAllocator allocator(inner, [&] { ++releases; });
  EXPECT_THROW(allocator.allocate(64), c10::Error);
  EXPECT_EQ(releases, 0);
}

// The first release lasts until all threads have found no memory, so that they all ask for one.
TEST(RetryingAllocator, ReleasesForOneThreadAtATime) {
  class FailingOnce final : public Limited {
   public:
    std::atomic<int> failed{0};
    c10::DataPtr allocate(size_t bytes) override {
      thread_local bool has_failed = false;
      if (!has_failed) ++failed;
      TORCH_CHECK(std::exchange(has_failed, true), "can't allocate memory");
      return c10::GetDefaultCPUAllocator()->allocate(bytes);
    }
  } inner;
  constexpr int kThreads = 4;
  std::atomic<int> inside{0}, most{0}, releases{0};
  RetryingAllocator allocator(inner, [&] {
    most = std::max<int>(most, ++inside);
    while (inner.failed < kThreads) std::this_thread::yield();
    --inside;
    ++releases;
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] { EXPECT_NE(allocator.allocate(64).get(), nullptr); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(releases, kThreads);
  EXPECT_EQ(most, 1);
}

TEST(RetryingAllocator, PassesTheSecondFailureOn) {
  Limited inner;
  inner.has_memory = false;
  int releases = 0;
  RetryingAllocator allocator(inner, [&] { ++releases; });
  EXPECT_THROW(allocator.allocate(64), c10::Error);
  EXPECT_EQ(releases, 1);
  EXPECT_EQ(inner.calls, 2);
}

}  // namespace
}  // namespace weft
