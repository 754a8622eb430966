#include "models/kernels/host_stash.h"

#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "tests/support/fill.h"

namespace weft {
namespace {

TEST(HostStash, GivesBackWhatWasPutThere) {
  HostStash stash;
  std::vector<Tensor> truth;
  for (const double phase : {0.1, 0.7, 1.3, 1.9}) {
    Tensor t = fill({3, 5}, phase);
    truth.push_back(t.clone());
    EXPECT_EQ(stash.put(t.t()), truth.size() - 1);  // not dense
  }
  for (size_t place = truth.size(); place-- > 0;) {
    const Tensor t = stash.take(place);
    EXPECT_TRUE(t.is_contiguous() && t.equal(truth[place].t())) << place;
  }
}

TEST(HostStash, KeepsItsOwnCopyOfAllButTheLast) {
  HostStash stash;
  Tensor first = at::arange(6).to(at::kFloat), last = first + 1;
  const Tensor truth = first.clone();
  stash.put(first);
  stash.put(last);
  first.zero_();
  EXPECT_TRUE(stash.take(1).equal(last));
  EXPECT_TRUE(stash.take(0).equal(truth));
}

TEST(HostStash, LetsGoOfAllAtItsEnd) {
  const Tensor t = fill({4}, 0.5);
  {
    HostStash stash;
    for (int i = 0; i < 2; ++i) stash.put(t);
    EXPECT_GT(t.storage().use_count(), 1);
  }
  EXPECT_EQ(t.storage().use_count(), 1);
}

TEST(HostStashDeathTest, TakesATensorOnce) {
  HostStash stash;
  stash.put(fill({2}, 0.5));
  stash.take(0);
  EXPECT_DEATH(stash.take(0), "host_stash has nothing at 0");
  EXPECT_DEATH(stash.take(1), "host_stash has nothing at 1");
}

}  // namespace
}  // namespace weft
