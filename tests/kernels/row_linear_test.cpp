#include "models/kernels/row_linear.h"

#include <cmath>
#include <ostream>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kDouble};

struct LinearCase {
  int64_t rows, in, out;
};

void PrintTo(const LinearCase& c, std::ostream* out) {
  *out << c.rows << "x" << c.in << " to " << c.out;
}

struct LinearInput {
  Tensor x, weight, bias;
};

// Random input, the same for the same case.
LinearInput linear_input(const LinearCase& c, at::ScalarType type) {
  const at::Generator random = at::detail::createCPUGenerator(11);
  const auto normal = [&](std::vector<int64_t> sizes) {
    return at::randn(sizes, random, at::TensorOptions(at::kDouble)).to(type);
  };
  const Tensor x = normal({c.rows, c.in}), weight = normal({c.out, c.in});
  return {x, weight, normal({c.out})};
}

// t [n, m] as a part of a wider tensor: its rows are dense, but far apart, and not aligned.
Tensor with_padded_rows(const Tensor& t) {
  const Tensor wide = at::full({t.size(0), t.size(1) + 7}, NAN, t.options());
  const Tensor part = wide.narrow(1, 3, t.size(1));
  part.copy_(t);
  return part;
}

class RowLinearSizes : public testing::TestWithParam<LinearCase> {};

TEST_P(RowLinearSizes, IsAsExactAsPlainOperators) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const LinearInput in = linear_input(GetParam(), type);
    for (const Tensor& bias : {Tensor{}, in.bias}) {
      const Tensor plain = at::linear(in.x, in.weight, bias);
      const Tensor truth = at::linear(in.x.to(at::kDouble), in.weight.to(at::kDouble),
                                      bias.defined() ? bias.to(at::kDouble) : bias);
      for (const cpu::Isa isa : supported_isas()) {
        expect_as_exact(row_linear(in.x, in.weight, bias, isa), plain, truth);
      }
    }
  }
}

// Roundings of 1e-16 at each of at most a thousand additions, in another order.
TEST_P(RowLinearSizes, EqualsPlainOperatorsInDouble) {
  const LinearInput in = linear_input(GetParam(), at::kDouble);
  const Tensor truth = at::linear(in.x, in.weight, in.bias);
  for (const cpu::Isa isa : supported_isas()) {
    EXPECT_LE(max_difference(row_linear(in.x, in.weight, in.bias, isa), truth),
              1e-13 * max_magnitude(truth));
  }
}

TEST_P(RowLinearSizes, ReadsPaddedRowsBitForBit) {
  for (const at::ScalarType type : kTypes) {
    const LinearInput in = linear_input(GetParam(), type);
    for (const cpu::Isa isa : supported_isas()) {
      EXPECT_TRUE(row_linear(with_padded_rows(in.x), with_padded_rows(in.weight), in.bias, isa)
                      .equal(row_linear(in.x, in.weight, in.bias, isa)));
    }
  }
}

TEST_P(RowLinearSizes, GivesARowTheSameBitsAloneAndAmongOthers) {
  for (const at::ScalarType type : kTypes) {
    const LinearInput in = linear_input(GetParam(), type);
    for (const cpu::Isa isa : supported_isas()) {
      const Tensor all = row_linear(in.x, in.weight, in.bias, isa);
      for (int64_t r = 0; r < in.x.size(0); ++r) {
        const Tensor alone = row_linear(in.x.narrow(0, r, 1), in.weight, in.bias, isa);
        EXPECT_TRUE(all.narrow(0, r, 1).equal(alone)) << "row " << r;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Odd, RowLinearSizes,
    testing::Values(LinearCase{1, 1, 1}, LinearCase{1, 59, 97}, LinearCase{1, 31, 97},
                    LinearCase{1, 127, 100}, LinearCase{1, 1025, 1025}, LinearCase{1, 511, 33},
                    LinearCase{1, 512, 33}, LinearCase{3, 511, 33}, LinearCase{3, 512, 17},
                    LinearCase{3, 1023, 17}, LinearCase{3, 1024, 17}, LinearCase{3, 256, 19},
                    LinearCase{3, 255, 19}, LinearCase{2, 97, 59}, LinearCase{2, 1025, 1},
                    LinearCase{3, 59, 1025}, LinearCase{3, 1, 59}, LinearCase{8, 1025, 97},
                    LinearCase{8, 97, 1025}, LinearCase{9, 59, 59}, LinearCase{9, 1025, 1025},
                    LinearCase{9, 97, 1}));

TEST(RowLinear, ReadsTransposedRowsAndBiasesWithGaps) {
  const LinearInput in = linear_input({5, 59, 97}, at::kFloat);
  const Tensor x = in.x.t().contiguous().t();
  const Tensor bias = at::cat({in.bias.unsqueeze(1), in.bias.unsqueeze(1)}, 1).select(1, 0);
  EXPECT_TRUE(row_linear(x, in.weight, bias).equal(row_linear(in.x, in.weight, in.bias)));
}

TEST(RowLinear, TakesEmptyInput) {
  const LinearInput in = linear_input({2, 3, 5}, at::kFloat);
  EXPECT_EQ(row_linear(in.x.narrow(0, 0, 0), in.weight, in.bias).sizes(),
            (std::vector<int64_t>{0, 5}));
  EXPECT_EQ(row_linear(in.x, in.weight.narrow(0, 0, 0), Tensor{}).sizes(),
            (std::vector<int64_t>{2, 0}));
  const Tensor no_columns = row_linear(in.x.narrow(1, 0, 0), in.weight.narrow(1, 0, 0), in.bias);
  EXPECT_TRUE(no_columns.equal(in.bias.expand({2, 5})));
  EXPECT_TRUE(row_linear(in.x, std::vector<RowLinearLayer>{}).empty());
}

TEST(RowLinear, IsBitEqualForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const at::ScalarType type : kTypes) {
    for (const LinearCase& size : {LinearCase{5, 1025, 1025}, LinearCase{1, 29, 60001}}) {
      const LinearInput in = linear_input(size, type);
      at::set_num_threads(1);
      const Tensor one = row_linear(in.x, in.weight, in.bias);
      for (const int count : {2, 3, 7}) {
        at::set_num_threads(count);
        EXPECT_TRUE(row_linear(in.x, in.weight, in.bias).equal(one)) << count << " threads";
      }
    }
  }
  at::set_num_threads(threads);
}

TEST(RowLinear, GivesSeveralLayersTheBitsOfEachAlone) {
  for (const at::ScalarType type : kTypes) {
    const LinearInput a = linear_input({3, 1025, 97}, type),
                      b = linear_input({3, 1025, 1024}, type);
    const std::vector<RowLinearLayer> layers = {{a.weight, a.bias},
                                                {with_padded_rows(b.weight), Tensor{}},
                                                {a.weight.narrow(0, 0, 0), Tensor{}},
                                                {a.weight.narrow(0, 0, 1), a.bias.narrow(0, 0, 1)}};
    for (const cpu::Isa isa : supported_isas()) {
      const std::vector<Tensor> y = row_linear(a.x, layers, isa);
      ASSERT_EQ(y.size(), layers.size());
      for (size_t i = 0; i < y.size(); ++i) {
        EXPECT_TRUE(y[i].equal(row_linear(a.x, layers[i].weight, layers[i].bias, isa))) << i;
      }
    }
  }
}

// An infinity or NaN reaches its own outputs, and not through the padding of the odd end either.
TEST(RowLinear, KeepsInfinitiesInTheirPlace) {
  const LinearInput in = linear_input({2, 59, 59}, at::kFloat);
  const Tensor before = row_linear(in.x, in.weight, in.bias);
  in.weight[7][58] = INFINITY;
  const Tensor y = row_linear(in.x, in.weight, in.bias);
  for (int64_t o = 0; o < 59; ++o) {
    EXPECT_EQ(y.select(1, o).equal(before.select(1, o)), o != 7) << o;
  }
  EXPECT_TRUE(y.select(1, 7).isinf().all().item<bool>());
}

TEST(RowLinearDeathTest, WrongOperandsAreAProgrammersError) {
  const LinearInput in = linear_input({1, 5, 3}, at::kFloat);
  EXPECT_DEATH(row_linear(in.x, in.weight.narrow(1, 0, 4), Tensor{}),
               "row_linear of x \\[1, 5\\] with a weight of \\[3, 4\\]");
  EXPECT_DEATH(row_linear(in.x, in.weight.to(at::kBFloat16), Tensor{}), "the weight is");
  EXPECT_DEATH(row_linear(in.x, in.weight.t().contiguous().t(), Tensor{}), "have gaps");
  EXPECT_DEATH(row_linear(in.x, in.weight, in.bias.narrow(0, 0, 2)), "a bias of \\[2\\]");
  EXPECT_DEATH(row_linear(in.x, in.weight.requires_grad_(), Tensor{}), "has no gradient");
}

}  // namespace
}  // namespace weft
