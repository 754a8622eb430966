#include "trainer/progress.h"

#include <cmath>

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Progress, ALineForATerminalSaysWhereTheRunStands) {
  Progress progress{.step = 120,
                    .total_steps = 300,
                    .loss = 1.83123,
                    .bits_per_byte = 2.6411,
                    .learning_rate = 1e-3,
                    .tokens_per_s = 12345,
                    .seconds_left = 130};
  EXPECT_EQ(progress_line(progress),
            "step 120/300  loss 1.8312  valid 2.641 bits/byte  lr 1.00e-03  12.3k tokens/s  "
            "eta 2m10s");
  progress.bits_per_byte.reset();
  EXPECT_EQ(progress_line(progress),
            "step 120/300  loss 1.8312  lr 1.00e-03  12.3k tokens/s  eta 2m10s");
}

TEST(Progress, ARecordHasKeysAndValuesButNoFiguresOfSingleLayers) {
  MetricsRow row;
  row.add("step", int64_t{120});
  row.add("loss", 1.83123456);
  row.add("moe.3.max_load", 1.5);
  row.add("learning_rate", 1e-3);
  row.add("memory_bytes", int64_t{1234567890123});
  EXPECT_EQ(record_line(row),
            "step=120 loss=1.8312 learning_rate=0.001 memory_bytes=1234567890123");
  EXPECT_EQ(record_line({}), "");
}

TEST(Progress, DurationsHaveTwoUnitsAtMost) {
  EXPECT_EQ(duration_text(0), "0.0s");
  EXPECT_EQ(duration_text(0.44), "0.4s");
  EXPECT_EQ(duration_text(9.94), "9.9s");
  EXPECT_EQ(duration_text(9.96), "10s");
  EXPECT_EQ(duration_text(59.4), "59s");
  EXPECT_EQ(duration_text(59.6), "1m00s");
  EXPECT_EQ(duration_text(130), "2m10s");
  EXPECT_EQ(duration_text(3599.6), "1h00m");
  EXPECT_EQ(duration_text(3900), "1h05m");
  EXPECT_EQ(duration_text(86399), "23h59m");
  EXPECT_EQ(duration_text(86400 * 3 + 7300), "3d02h");
  for (const double bad : {-1.0, HUGE_VAL, std::nan("")}) EXPECT_EQ(duration_text(bad), "?");
}

TEST(Progress, BytesAreInPowersOf1024) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1024), "1.0 KiB");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text((int64_t{1} << 20) - 1), "1.0 MiB");
  EXPECT_EQ(bytes_text(int64_t{10} << 30), "10.0 GiB");
  EXPECT_EQ(bytes_text(std::numeric_limits<int64_t>::max()), "8192.0 PiB");
}

TEST(Progress, CountsHaveThreeDigits) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(950), "950");
  EXPECT_EQ(count_text(999.6), "1.00k");
  EXPECT_EQ(count_text(12345), "12.3k");
  EXPECT_EQ(count_text(4.56e6), "4.56M");
  EXPECT_EQ(count_text(9.996e6), "10.0M");
  EXPECT_EQ(count_text(1.2e12), "1.20T");
  EXPECT_EQ(count_text(HUGE_VAL), "?");
}

TEST(Progress, AmountsHaveTheirPrefixOnTheUnit) {
  EXPECT_EQ(amount_text(950, "FLOP/s"), "950 FLOP/s");
  EXPECT_EQ(amount_text(8.26e11, "FLOP/s"), "826 GFLOP/s");
  EXPECT_EQ(amount_text(1.2e12, "FLOP/s"), "1.20 TFLOP/s");
  EXPECT_EQ(amount_text(HUGE_VAL, "FLOP/s"), "? FLOP/s");
}

}  // namespace
}  // namespace weft
