#include "models/kernels/column_sums.h"

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "models/kernels/dispatch.h"
#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

TEST(AddColumnSums, AddsWhatTheRowsSumTo) {
  for (const int64_t rows : {0, 1, 63, 64, 65, 700}) {
    for (const int64_t width : {1, 15, 16, 59, 512, 1025}) {
      for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
        const Tensor x = fill({rows, width}, 0.3).to(type);
        const Tensor expected = x.to(at::kDouble).sum(0) + 2;
        // At most 64 numbers below 1 a block, and then at most 11 blocks.
        const double error = type == at::kDouble ? 0x1p-43 : 0x1p-14;
        for (const cpu::Isa isa : supported_isas()) {
          const Tensor sum = at::full({width}, 2, at::TensorOptions(wide_type(type)));
          add_column_sums(sum, x, isa);
          EXPECT_LE(max_difference(sum, expected), error) << rows << " x " << width;
        }
      }
    }
  }
}

TEST(AddColumnSums, TakesAnyStridesAndNumberOfThreads) {
  const Tensor all = fill({300, 900}, 0.7).to(at::kFloat);
  const auto sum_of = [](const Tensor& x) {
    const Tensor sum = at::full({x.size(1)}, 1, at::TensorOptions(at::kFloat));
    add_column_sums(sum, x);
    return sum;
  };
  const Tensor part = all.narrow(1, 100, 700);
  EXPECT_TRUE(sum_of(part).equal(sum_of(part.contiguous())));
  EXPECT_TRUE(sum_of(all.t()).equal(sum_of(all.t().contiguous())));
  const Tensor one = at::full({1, 1}, 0.5F).expand({30, 40});
  EXPECT_TRUE(sum_of(one).equal(at::full({40}, 16.0F)));
  const int before = at::get_num_threads();
  const Tensor expected = sum_of(all);
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(sum_of(all).equal(expected)) << threads;
  }
  at::set_num_threads(before);
}

TEST(AddColumnSumsDeathTest, RefusesOtherShapesAndTypes) {
  const Tensor x = fill({4, 6}, 1), sum = fill({6}, 1);
  EXPECT_DEATH(add_column_sums(fill({4}, 1), x), "add_column_sums of");
  EXPECT_DEATH(add_column_sums(sum, x.to(at::kFloat)), "add_column_sums of");
  EXPECT_DEATH(add_column_sums(sum, sum), "add_column_sums of");
}

}  // namespace
}  // namespace weft
