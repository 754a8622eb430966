#include "models/kernels/grouped_linear.h"

#include <vector>

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "models/kernels/dispatch.h"
#include "tests/kernels/grouped_linear_case.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kDouble};

class GroupedLinearOf : public testing::TestWithParam<GroupedCase> {
 protected:
  const GroupedCase c_ = GetParam();
  const GroupedInputs in_ = grouped_inputs(c_);
  const RowGroups groups_ = row_groups(c_.sizes, at::kCPU);
};

TEST_P(GroupedLinearOf, HasTheResultsOfEachGroup) {
  const auto plain = [&](const Tensor& x, const Tensor& weight) {
    return plain_grouped_linear(x, c_.sizes, weight);
  };
  const auto ours = [&](const Tensor& x, const Tensor& weight) {
    return grouped_linear(x, groups_, weight);
  };
  const char* const names[] = {"y", "x", "weight"};
  for (const at::ScalarType type : kTypes) {
    const Tensor x = in_.x.to(type), weight = in_.weight.to(type), dy = in_.dy.to(type);
    const auto truth =
        grouped_results(x.to(at::kDouble), weight.to(at::kDouble), dy.to(at::kDouble), plain);
    const auto operators = grouped_results(x, weight, dy, plain);
    const auto got = grouped_results(x, weight, dy, ours);
    for (size_t i = 0; i < got.size(); ++i) {
      expect_as_exact(got[i], operators[i], truth[i], names[i]);
    }
  }
}

// In the wide type, added to what is there, for a weight that autograd gives nothing.
TEST_P(GroupedLinearOf, AddsTheWeightsGradientToASum) {
  for (const at::ScalarType type : kTypes) {
    const Tensor x = in_.x.to(type), weight = in_.weight.to(type), dy = in_.dy.to(type);
    const Tensor sum = in_.sum.to(wide_type(type)), before = sum.clone();
    const auto got = grouped_results(x, weight, dy, [&](const Tensor& a, const Tensor& w) {
      return grouped_linear(a, groups_, w, sum);
    });
    EXPECT_FALSE(got[2].defined());
    const auto through = [&](at::ScalarType in) {
      return grouped_results(x.to(in), weight.to(in), dy.to(in),
                             [&](const Tensor& a, const Tensor& w) {
                               return plain_grouped_linear(a, c_.sizes, w);
                             })[2];
    };
    expect_as_exact(sum, before + through(wide_type(type)),
                    before.to(at::kDouble) + through(at::kDouble), "sum");
  }
}

TEST_P(GroupedLinearOf, HasItsGradientsWhereItsValuesAreUnusedOrKept) {
  const auto gradients = [&](Values values, KeptResults* kept, KeepingResults::Run run) {
    const KeepingResults keeping(kept, run);
    return grouped_results(in_.x, in_.weight, in_.dy, [&](const Tensor& x, const Tensor& weight) {
      return grouped_linear(x, groups_, weight, {}, values);
    });
  };
  KeptResults kept;
  const auto first = gradients(Values::kWanted, &kept, KeepingResults::Run::kFirst);
  const auto second = gradients(Values::kWanted, &kept, KeepingResults::Run::kSecond);
  EXPECT_TRUE(kept.all_taken());
  const auto unused = gradients(Values::kUnused, nullptr, KeepingResults::Run::kFirst);
  EXPECT_TRUE(second[0].equal(first[0]));
  EXPECT_EQ(unused[0].sizes(), first[0].sizes());
  for (const size_t i : {size_t{1}, size_t{2}}) {
    EXPECT_TRUE(second[i].equal(first[i])) << i;
    EXPECT_TRUE(unused[i].equal(first[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GroupedLinearOf, testing::ValuesIn(kGroupedCases));

TEST(RowGroups, EndWhereTheNextBeginsInAPartToo) {
  const RowGroups groups = row_groups({3, 0, 5, 2}, at::kCPU);
  EXPECT_TRUE(groups.ends.equal(at::tensor({3, 3, 8, 10}, at::kInt)));
  const RowGroups middle = groups.part(2, 5);
  EXPECT_EQ(middle.sizes, (std::vector<int64_t>{1, 0, 4, 0}));
  EXPECT_TRUE(middle.ends.equal(at::tensor({1, 1, 5, 5}, at::kInt)));
  const RowGroups last = groups.part(8, 2);
  EXPECT_EQ(last.sizes, (std::vector<int64_t>{0, 0, 0, 2}));
  EXPECT_TRUE(last.ends.equal(at::tensor({0, 0, 0, 2}, at::kInt)));
}

TEST(GroupedLinear, LeavesAloneWhatWantsNoGradient) {
  const GroupedCase c{{2, 3}, 4, 5};
  const GroupedInputs in = grouped_inputs(c);
  const RowGroups groups = row_groups(c.sizes, at::kCPU);
  const Tensor sum = at::zeros(c.shape(), at::kDouble);
  const Tensor x = in.x.clone().set_requires_grad(true);
  grouped_linear(x, groups, in.weight, sum).backward(in.dy);
  EXPECT_TRUE(x.grad().defined());
  EXPECT_EQ(max_magnitude(sum), 0);
  const Tensor weight = in.weight.clone().set_requires_grad(true);
  grouped_linear(in.x, groups, weight, sum).backward(in.dy);
  EXPECT_FALSE(in.x.grad().defined() || weight.grad().defined());
  EXPECT_GT(max_magnitude(sum), 0);
}

TEST(GroupedLinearDeathTest, RefusesWhatItCannotDo) {
  const GroupedCase c{{2, 3}, 4, 5};
  const GroupedInputs in = grouped_inputs(c);
  const RowGroups groups = row_groups(c.sizes, at::kCPU);
  EXPECT_DEATH(grouped_linear(in.x.narrow(0, 0, 4), groups, in.weight), "2 groups of 5 rows");
  EXPECT_DEATH(grouped_linear(in.x.to(at::kFloat), groups, in.weight), "CPUFloatType \\[5, 4\\]");
  EXPECT_DEATH(grouped_linear(in.x, groups, in.weight.narrow(0, 0, 1)), "\\[1, 5, 4\\]");
  EXPECT_DEATH(grouped_linear(in.x, groups, in.weight, in.sum.to(at::kFloat)),
               "a sum of another shape or type");
  const Tensor x = in.x.clone().set_requires_grad(true);
  const Tensor y = grouped_linear(x, groups, in.weight).sum();
  EXPECT_DEATH(torch::autograd::grad({y}, {x}, {}, true, /*create_graph=*/true),
               "grouped_linear is differentiated at most once");
}

}  // namespace
}  // namespace weft
