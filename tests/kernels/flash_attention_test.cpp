#include "models/kernels/flash_attention.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(FlashAttention, HasWidthsOfWholeVectors) {
  for (const int64_t width : {8, 64, 72, 256}) EXPECT_TRUE(has_flash_width(width)) << width;
  for (const int64_t width : {1, 12, 63, 257, 264}) EXPECT_FALSE(has_flash_width(width)) << width;
}

TEST(FlashAttentionDeathTest, RefusesTensorsThatAreNotOnAGpu) {
  const Tensor q = at::empty({1, 4, 2, 8}, at::kBFloat16);
  EXPECT_FALSE(has_flash_attention(q));
  EXPECT_DEATH(flash_attention(q, q, q, {}),
               "no flash_attention for CPUBFloat16Type \\[1, 4, 2, 8");
}

}  // namespace
}  // namespace weft
