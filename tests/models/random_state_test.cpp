#include "models/random_state.h"

#include <ATen/Context.h>
#include <ATen/ops/rand.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Replay, GivesTheNumbersBehindAStateAgainAndThenGoesOn) {
  at::manual_seed(3);
  const Tensor before = at::rand({4});
  const RandomState state(at::kCPU);
  const Tensor first = at::rand({5}), second = at::rand({6});
  {
    const Replay replay(state, at::kCPU);
    EXPECT_TRUE(at::rand({5}).equal(first));
  }
  const Tensor third = at::rand({7});
  at::manual_seed(3);
  EXPECT_TRUE(at::rand({4}).equal(before));
  EXPECT_TRUE(at::rand({5}).equal(first));
  EXPECT_TRUE(at::rand({6}).equal(second));
  EXPECT_TRUE(at::rand({7}).equal(third));
}

}  // namespace
}  // namespace weft
