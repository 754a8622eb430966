#include "models/kernels/sum_of_squares.h"

#include <limits>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "tests/kernels/isas.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

// Sizes below, at and above a vector and a piece.
std::vector<Tensor> tensors(at::ScalarType type) {
  std::vector<Tensor> all;
  for (const int64_t n : {1, 0, 15, 16, 17, 32767, 32768, 32769, 100003}) {
    all.push_back(fill({n}, 0.1 * static_cast<double>(n)).to(type));
  }
  return all;
}

TEST(SumOfSquares, IsThatOfAllTensorsOnEveryInstructionSet) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const std::vector<Tensor> all = tensors(type);
    long double expected = 0;
    for (const Tensor& t : all) {
      const Tensor exact = t.to(at::kDouble);
      const auto* values = exact.const_data_ptr<double>();
      for (int64_t i = 0; i < t.numel(); ++i) {
        expected += static_cast<long double>(values[i]) * values[i];
      }
    }
    const double sum = sum_of_squares(all);
    // At most 2,048 additions of positive numbers in a row, in fp64.
    EXPECT_NEAR(sum, static_cast<double>(expected), static_cast<double>(expected) * 0x1p-42);
    for (const cpu::Isa isa : supported_isas()) {
      EXPECT_NEAR(sum_of_squares(all, isa), sum, sum * 0x1p-42);
      for (const Tensor& t : all) {  // the squares of fp32 numbers are exact
        if (type == at::kFloat) {
          EXPECT_EQ(sum_of_squares({t}, isa), sum_of_squares({t}));
        }
      }
    }
  }
  EXPECT_EQ(sum_of_squares({}), 0);
}

TEST(SumOfSquares, IsTheSameBitsForEveryNumberOfThreads) {
  const std::vector<Tensor> all = tensors(at::kFloat);
  const double expected = sum_of_squares(all);
  const int before = at::get_num_threads();
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    EXPECT_EQ(sum_of_squares(all), expected);
  }
  at::set_num_threads(before);
}

TEST(SumOfSquaresDeathTest, TakesDenseTensorsOfOneType) {
  const Tensor x = fill({4, 6}, 1);
  EXPECT_DEATH(sum_of_squares({x.t()}), "sum_of_squares of");
  EXPECT_DEATH(sum_of_squares({x, x.to(at::kFloat)}), "sum_of_squares of");
  EXPECT_DEATH(sum_of_squares({x.to(at::kBFloat16)}), "sum_of_squares of");
}

}  // namespace
}  // namespace weft
