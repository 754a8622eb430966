#include "models/embedding.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

class EmbeddingLookupTypes : public testing::TestWithParam<at::ScalarType> {};

// Beside LibTorch's own gradient, over two passes into one sum.
TEST_P(EmbeddingLookupTypes, AddsToTheRowsOfItsTokens) {
  const at::ScalarType type = GetParam();
  const Tensor weight = fill({11, 70}, 0.3).to(type).set_requires_grad(true);
  const Tensor tokens = at::randint(11, {3, 29}, at::kLong);
  const Tensor upstream = fill({3, 29, 70}, 0.8).to(type);
  for (const int64_t padding : {-1, 4}) {
    const Tensor theirs = weight.detach().clone().set_requires_grad(true);
    const Tensor sum = at::zeros(weight.sizes(), weight.options().requires_grad(false));
    for (int pass = 0; pass < 2; ++pass) {
      const Tensor y = embedding_lookup(weight, tokens, padding, sum);
      const Tensor expected = at::embedding(theirs, tokens, padding);
      EXPECT_TRUE(y.equal(expected));
      (y * upstream).sum().backward();
      (expected * upstream).sum().backward();
    }
    EXPECT_FALSE(weight.grad().defined());
    EXPECT_LE(max_difference(sum, theirs.grad()), type == at::kDouble ? 1e-14 : 2e-5);
    EXPECT_EQ(max_magnitude(sum[4]) == 0, padding == 4);
  }
}

TEST_P(EmbeddingLookupTypes, IsTheSameForAnyNumberOfThreads) {
  const Tensor weight = fill({5, 300}, 0.3).to(GetParam()).set_requires_grad(true);
  const Tensor tokens = at::randint(5, {1000}, at::kLong);
  const Tensor upstream = fill({1000, 300}, 0.8).to(GetParam());
  const int before = at::get_num_threads();
  std::vector<Tensor> sums;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    sums.push_back(at::zeros(weight.sizes(), weight.options().requires_grad(false)));
    (embedding_lookup(weight, tokens, -1, sums.back()) * upstream).sum().backward();
    EXPECT_TRUE(sums.back().equal(sums[0])) << threads;
  }
  at::set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(All, EmbeddingLookupTypes, testing::Values(at::kFloat, at::kDouble));

TEST(EmbeddingLookup, TakesNoTokens) {
  const Tensor weight = fill({5, 3}, 0.3).set_requires_grad(true);
  const Tensor empty = at::zeros({0}, at::kLong), sum = at::zeros({5, 3}, at::kDouble);
  embedding_lookup(weight, empty, -1, sum).sum().backward();
  EXPECT_EQ(max_magnitude(sum), 0);
}

TEST(EmbeddingLookupDeathTest, RefusesASumThatDoesNotFit) {
  const Tensor weight = fill({5, 3}, 0.3).set_requires_grad(true);
  const Tensor tokens = at::zeros({2}, at::kLong);
  EXPECT_DEATH(embedding_lookup(weight, tokens, -1, at::zeros({5, 4}, at::kDouble)),
               "embedding_lookup in CPUDoubleType \\[5, 3\\]");
}

}  // namespace
}  // namespace weft
