#include "optim/clip.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

ParameterTable table_of(const std::vector<int64_t>& sizes) {
  ParameterTable table;
  for (size_t i = 0; i < sizes.size(); ++i) {
    ParameterSpec spec;
    spec.name = absl::StrCat("p", i);
    spec.shape = {sizes[i]};
    table.add(spec);
  }
  return table;
}

StoreTypes types(at::ScalarType type) {
  return {.master = type, .compute = type, .device = at::kCPU};
}

TEST(GradientNorm, IsTheEuclideanNormOverAllParameters) {
  const ParameterTable table = table_of({1, 2, 3});
  ParameterStore store(table, types(at::kFloat));
  EXPECT_EQ(gradient_norm(store), 0.0);
  store.parameters()[0].gradient.fill_(6);
  store.parameters()[2].gradient[1] = -8;
  EXPECT_EQ(gradient_norm(store), 10.0);
}

TEST(GradientNorm, OddSizesAgreeWithAPlainSum) {
  const std::vector<int64_t> sizes = {1, 7, 59, 97, 1025, 32768, 32769, 100003};
  const ParameterTable table = table_of(sizes);
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    ParameterStore store(table, types(type));
    long double sum = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      store.parameters()[i].gradient.copy_(fill({sizes[i]}, 0.1 * static_cast<double>(i)));
      const Tensor exact = store.parameters()[i].gradient.to(at::kDouble);
      const double* values = exact.const_data_ptr<double>();
      for (int64_t j = 0; j < sizes[i]; ++j) sum += static_cast<long double>(values[j]) * values[j];
    }
    // 134,000 additions of positive numbers in fp64, in pieces: at most some 4,096 in a row.
    const double expected = std::sqrt(static_cast<double>(sum));
    EXPECT_NEAR(gradient_norm(store), expected, expected * 4096 * 0x1p-53);
  }
}

TEST(GradientNorm, IsTheSameBitsForEveryNumberOfThreads) {
  const ParameterTable table = table_of({1000003});
  ParameterStore store(table, types(at::kFloat));
  store.parameters()[0].gradient.copy_(fill({1000003}, 0.3));
  const int before = at::get_num_threads();
  std::vector<double> norms;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    norms.push_back(gradient_norm(store));
  }
  at::set_num_threads(before);
  EXPECT_GT(norms[0], 0);
  EXPECT_EQ(norms[0], norms[1]);
  EXPECT_EQ(norms[0], norms[2]);
}

TEST(GradientNorm, SquaresBeyondFp32AreNoOverflowAndBadValuesShow) {
  const ParameterTable table = table_of({40});
  ParameterStore store(table, types(at::kFloat));
  Tensor& gradient = store.parameters()[0].gradient;
  gradient[3] = 1e30;
  EXPECT_NEAR(gradient_norm(store), 1e30, 1e30 * 0x1p-24);  // 1e30 itself is rounded to fp32
  gradient[3] = kInfinity;
  EXPECT_EQ(gradient_norm(store), kInfinity);
  gradient[3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(gradient_norm(store)));
}

TEST(ClipFactor, TakesALargeNormToTheLimit) {
  EXPECT_DOUBLE_EQ(clip_factor(4, 0.5), 0.125);
  EXPECT_DOUBLE_EQ(clip_factor(1e30, 1), 1e-30);
}

TEST(ClipFactor, IsOneBelowTheLimitWithoutLimitAndForWhatIsNotFinite) {
  EXPECT_EQ(clip_factor(3, 6), 1);
  EXPECT_EQ(clip_factor(3, 3), 1);
  EXPECT_EQ(clip_factor(3, 0), 1);
  EXPECT_EQ(clip_factor(kInfinity, 1), 1);
  EXPECT_EQ(clip_factor(std::numeric_limits<double>::quiet_NaN(), 1), 1);
}

}  // namespace
}  // namespace weft
