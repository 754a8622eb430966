#include "trainer/profile_updates.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(ProfileTable, SaysTimeWorkAndHowFarItIsFromTheBound) {
  const std::vector<WorkSum> sums = {
      {WorkKind::kElementwise, 0.2, 40, {.flops = 0, .bytes = 4e9}},
      {WorkKind::kProduct, 0.5, 10, {.flops = 80e9, .bytes = 1e9}},
      {WorkKind::kNorm, 0, 0, {}},
      {WorkKind::kOther, 0.1, 100, {}},
  };
  const std::string table = profile_table(sums, /*seconds=*/1.0, /*updates=*/2,
                                          {.flops_per_s = 200e9, .bytes_per_s = 40e9});
  EXPECT_EQ(table,
            "                  ms/update  share   calls     GFLOP        GB  of bound\n"
            "matrix products      250.00  50.0%       5     40.00     0.500  80 % (FLOP)\n"
            "elementwise          100.00  20.0%      20      0.00     2.000  50 % (bytes)\n"
            "other operators       50.00  10.0%      50      0.00     0.000\n"
            "in no operator       100.00  20.0%");
}

}  // namespace
}  // namespace weft
