#include "models/kernels/kept_results.h"

#include <utility>
#include <vector>

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include "models/kernels/matmul.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

TEST(KeptResults, AreTakenInTheirOrder) {
  KeptResults results;
  results.keep(fill({2}, 0.1));
  results.keep(fill({3}, 0.2));
  results.forget_last();
  EXPECT_FALSE(results.all_taken());
  EXPECT_TRUE(results.take().equal(fill({2}, 0.1)));
  EXPECT_FALSE(results.take().defined());
  EXPECT_TRUE(results.all_taken());
  EXPECT_DEATH(results.take(), "asks for result 2 of 2");
}

TEST(KeptResults, AreOfTheInnermostScopeOfTheirRun) {
  KeptResults outer;
  EXPECT_EQ(kept_by_first_run(), nullptr);
  const KeepingResults first(&outer, KeepingResults::Run::kFirst);
  EXPECT_EQ(kept_by_first_run(), &outer);
  EXPECT_EQ(kept_for_second_run(), nullptr);
  {
    const KeepingResults none(nullptr, KeepingResults::Run::kFirst);
    EXPECT_EQ(kept_by_first_run(), nullptr);
  }
  EXPECT_EQ(kept_by_first_run(), &outer);
  KeptResults inner;
  const KeepingResults second(&inner, KeepingResults::Run::kSecond);
  EXPECT_EQ(kept_by_first_run(), nullptr);
  EXPECT_EQ(kept_for_second_run(), &inner);
}

// y and the gradients of x, weight and bias, in a run of this number.
std::vector<Tensor> product(at::ScalarType type, int64_t size, KeptResults* results,
                            KeepingResults::Run run) {
  const auto leaf = [&](at::IntArrayRef shape, double phase) {
    return fill(shape.vec(), phase).to(type).set_requires_grad(true);
  };
  const Tensor x = leaf({2, size, size}, 0.1), weight = leaf({size + 8, size}, 0.2),
               bias = leaf({size + 8}, 0.3);
  const KeepingResults keeping(results, run);
  const Tensor y = linear_product(x, weight, bias);
  y.backward(fill(y.sizes().vec(), 0.4).to(type));
  return {y.detach(), x.grad(), weight.grad(), bias.grad()};
}

// Small products are LibTorch's, large fp32 ones may be ours: all have the second run's gradients.
TEST(KeptResults, OfAProductHaveItsGradients) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const int64_t size : {3, 192}) {
      KeptResults results;
      const auto first = product(type, size, &results, KeepingResults::Run::kFirst);
      const auto second = product(type, size, &results, KeepingResults::Run::kSecond);
      EXPECT_TRUE(results.all_taken());
      for (size_t i = 0; i < first.size(); ++i) {
        EXPECT_TRUE(second[i].equal(first[i])) << type << " " << size << ", tensor " << i;
      }
    }
  }
}

TEST(KeptResultsDeathTest, RefuseAnotherProduct) {
  KeptResults results;
  results.keep(at::empty({4, 5}, at::kFloat));
  const KeepingResults second(&results, KeepingResults::Run::kSecond);
  EXPECT_DEATH(linear_product(fill({4, 3}, 0.1).to(at::kFloat), fill({6, 3}, 0.2).to(at::kFloat)),
               "of float, the first kept CPUFloatType \\[4, 5\\]");
}

}  // namespace
}  // namespace weft
