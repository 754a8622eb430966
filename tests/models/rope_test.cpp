#include "models/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

constexpr int64_t kWidth = 6;

// Positions 10 .. 13 and 3 .. 6 of two rows.
Tensor many_positions() {
  return at::tensor({10, 3}, at::kLong).unsqueeze(1) + at::arange(4, at::kLong);
}

TEST(Rotations, CopiesAPositionOfEachRowIntoTheSameMemory) {
  const RopeConfig plain{.type = RopeType::kDefault};
  const RopeConfig scaled{.type = RopeType::kLinear, .factor = 3, .attention_factor = 1.5};
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    Rotations many(many_positions());
    Rotations one(many_positions().narrow(1, 0, 1));
    const Tensor cos = one.get(plain, kWidth, type).cos, sin = one.get(scaled, kWidth, type).sin;
    for (const int64_t t : {2, 0, 3}) {
      one.copy_from(many, t);
      Rotations truth(many_positions().narrow(1, t, 1));
      EXPECT_TRUE(cos.equal(truth.get(plain, kWidth, type).cos)) << t;
      EXPECT_TRUE(sin.equal(truth.get(scaled, kWidth, type).sin)) << t;
    }
    EXPECT_TRUE(one.get(plain, kWidth, type).cos.is_same(cos));
  }
}

TEST(RotationsDeathTest, CopiesNoPositionThatIsNotThere) {
  const RopeConfig config{.type = RopeType::kDefault};
  Rotations many(many_positions()), one(many_positions().narrow(1, 0, 1));
  one.get(config, kWidth, at::kFloat);
  EXPECT_DEATH(one.copy_from(many, 4), "position 4 of rotations");
  EXPECT_DEATH(one.copy_from(many, -1), "position -1 of rotations");
  Rotations fewer(many_positions().narrow(0, 0, 1));
  EXPECT_DEATH(one.copy_from(fewer, 0), "position 0 of rotations");
}

}  // namespace
}  // namespace weft
