#include "models/kernels/cpu/scratch.h"

#include <algorithm>
#include <cstdint>

#include <gtest/gtest.h>

namespace weft::cpu {
namespace {

TEST(Scratch, GivesAlignedMemoryThatDoesNotOverlap) {
  Scratch scratch;
  auto* const bytes = scratch.take<std::byte>(3);
  auto* const numbers = scratch.take<double>(100);
  auto* const more = scratch.take<float>(5000);  // a larger block
  for (const void* p :
       {static_cast<void*>(bytes), static_cast<void*>(numbers), static_cast<void*>(more)}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0U);
  }
  std::fill_n(bytes, 3, std::byte{1});
  std::fill_n(numbers, 100, 2.0);
  std::fill_n(more, 5000, 3.0F);
  EXPECT_EQ(std::count(bytes, bytes + 3, std::byte{1}), 3);
  EXPECT_EQ(std::count(numbers, numbers + 100, 2.0), 100);
  EXPECT_EQ(std::count(more, more + 5000, 3.0F), 5000);
}

TEST(Scratch, GivesTheSameMemoryAgainOnceRewound) {
  Scratch scratch;
  auto* const first = scratch.take<float>(64);
  scratch.rewind();
  EXPECT_EQ(scratch.take<float>(16), first);
  scratch.rewind();
  auto* const larger = scratch.take<float>(1000);
  scratch.rewind();
  EXPECT_EQ(scratch.take<float>(1000), larger);
  std::fill_n(first, 64, 1.0F);  // what was taken before is still there
  EXPECT_EQ(std::count(first, first + 64, 1.0F), 64);
}

TEST(Scratch, GivesNothingOfNoSize) {
  Scratch scratch;
  scratch.take<float>(0);
  scratch.rewind();
  auto* const one = scratch.take<float>(1);
  *one = 1;
  EXPECT_EQ(*one, 1);
}

}  // namespace
}  // namespace weft::cpu
