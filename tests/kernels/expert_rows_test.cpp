#include "models/kernels/expert_rows.h"

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "tests/kernels/expert_rows_case.h"
#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"
#include "tests/support/gradient_check.h"

namespace weft {
namespace {

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kDouble};

at::ScalarType wide(at::ScalarType type) { return type == at::kDouble ? type : at::kFloat; }

class ExpertRowsOf : public testing::TestWithParam<ExpertCase> {
 protected:
  const ExpertCase c_ = GetParam();
  const Tensor experts_ = chosen_experts(c_);
  const ExpertRows rows_ = expert_rows(experts_, c_.experts, kTestMultiple);
};

TEST_P(ExpertRowsOf, StandByExpertAndTokenWithPaddingBehindEach) {
  const auto assignments = assignments_of(experts_, c_.experts);
  std::vector<int64_t> expected;
  for (int64_t e = 0; e < c_.experts; ++e) {
    const auto count = static_cast<int64_t>(assignments[e].size());
    EXPECT_EQ(rows_.counts[e].item<int64_t>(), count);
    EXPECT_EQ(rows_.groups.sizes[e], (count + kTestMultiple - 1) / kTestMultiple * kTestMultiple);
    for (int64_t i = 0; i < rows_.groups.sizes[e]; ++i) {
      if (i < count) {
        EXPECT_EQ(rows_.row.reshape(-1)[assignments[e][i]].item<int64_t>(),
                  static_cast<int64_t>(expected.size()));
      }
      expected.push_back(i < count ? assignments[e][i] : -1);
    }
  }
  EXPECT_TRUE(rows_.assignment.equal(at::tensor(expected, at::kLong)));
}

TEST_P(ExpertRowsOf, HoldTokensAndZerosAndGiveBackTheSumsOfGradients) {
  const Tensor tokens = random_numbers({c_.tokens, c_.width}, 1);
  const Tensor drows = random_rows(rows_, c_.width, 2);
  const auto plain = [&](const Tensor& t) { return plain_to_experts(t, experts_, rows_); };
  for (const at::ScalarType type : kTypes) {
    const Tensor x = tokens.to(type), d = drows.to(type);
    const auto truth = through_to_experts(x.to(at::kDouble), d.to(at::kDouble), plain);
    const auto operators = through_to_experts(x, d, plain);
    for (const cpu::Isa isa : supported_isas()) {
      const auto got =
          through_to_experts(x, d, [&](const Tensor& t) { return to_experts(t, rows_, isa); });
      EXPECT_TRUE(got[0].equal(operators[0]));
      expect_as_exact(got[1], operators[1], truth[1]);
    }
  }
}

TEST_P(ExpertRowsOf, AreWeightedAndAddedUpAsByOperators) {
  const Tensor outputs = random_rows(rows_, c_.width, 3);
  const Tensor weights = random_numbers({c_.tokens, c_.top_k}, 4);
  const Tensor dout = random_numbers({c_.tokens, c_.width}, 5);
  const auto plain = [&](const Tensor& y, const Tensor& w) {
    return plain_from_experts(y, w, rows_);
  };
  for (const at::ScalarType type : kTypes) {
    const Tensor y = outputs.to(type), w = weights.to(wide(type)), d = dout.to(type);
    const auto truth =
        through_from_experts(y.to(at::kDouble), w.to(at::kDouble), d.to(at::kDouble), plain);
    const auto operators = through_from_experts(y, w, d, plain);
    for (const cpu::Isa isa : supported_isas()) {
      const auto got = through_from_experts(y, w, d, [&](const Tensor& rows, const Tensor& by) {
        return from_experts(rows, by, rows_, isa);
      });
      const char* const names[] = {"result", "weights", "rows"};
      for (size_t i = 0; i < got.size(); ++i) {
        expect_as_exact(got[i], operators[i], truth[i], names[i]);
      }
      EXPECT_TRUE(got[2].index({rows_.assignment.lt(0)}).eq(0).all().item<bool>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ExpertRowsOf, testing::ValuesIn(kExpertCases));

TEST(ExpertRows, HaveTheGradientsOfCentralDifferences) {
  const ExpertCase c{7, 3, 5, 6};
  const ExpertRows rows = expert_rows(chosen_experts(c), c.experts, kTestMultiple);
  const Tensor tokens = random_numbers({c.tokens, c.width}, 1).set_requires_grad(true);
  const Tensor weights = random_numbers({c.tokens, c.top_k}, 2).set_requires_grad(true);
  for (const cpu::Isa isa : supported_isas()) {
    const auto loss = [&] {
      return closed_form_loss(
          from_experts(to_experts(tokens, rows, isa).sin(), weights, rows, isa));
    };
    tokens.mutable_grad() = Tensor();
    weights.mutable_grad() = Tensor();
    loss().backward();
    const auto value = [&] { return loss().item<double>(); };
    expect_gradient("tokens", value, tokens.detach(), tokens.grad(), c.tokens * c.width);
    expect_gradient("weights", value, weights.detach(), weights.grad(), c.tokens * c.top_k);
  }
}

TEST(ExpertRows, AreAddedUpInAscendingOrderOfSlotAndRoundedOnce) {
  // In the wide type 2^24 + 1 + 1 is 2^24 one by one, and in bf16 256 + 1 + 1 is 256.
  const ExpertRows rows = expert_rows(at::tensor({0, 1, 2}, at::kLong).view({1, 3}), 3, 1);
  const auto sum = [&](std::vector<double> numbers, at::ScalarType type, cpu::Isa isa) {
    const Tensor weights = at::ones({1, 3}, at::kFloat);
    const Tensor all = at::tensor(numbers, at::kDouble).to(type).view({3, 1});
    const Tensor y = from_experts(all, weights, rows, isa);
    const Tensor leaf = at::zeros({1, 1}, type).set_requires_grad(true);
    to_experts(leaf, rows, isa).backward(all);
    EXPECT_TRUE(leaf.grad().equal(y));
    return y.item<double>();
  };
  for (const cpu::Isa isa : supported_isas()) {
    EXPECT_EQ(sum({0x1p24, 1, 1}, at::kFloat, isa), 0x1p24);
    EXPECT_EQ(sum({1, 1, 0x1p24}, at::kFloat, isa), 0x1p24 + 2);
    EXPECT_EQ(sum({256, 1, 1}, at::kBFloat16, isa), 258);
  }
}

TEST(ExpertRows, TakePartsOfTensors) {
  const ExpertCase c{11, 2, 3, 20};
  const ExpertRows rows = expert_rows(chosen_experts(c).t().contiguous().t(), c.experts, 4);
  const Tensor wider = random_numbers({c.tokens, 2 * c.width + 1}, 1).to(at::kFloat);
  const Tensor tokens = wider.narrow(1, 1, c.width);
  const Tensor routed = to_experts(tokens, rows);
  EXPECT_TRUE(routed.equal(to_experts(tokens.contiguous(), rows)));
  const Tensor turned = routed.t().contiguous().t();
  const Tensor weights = random_numbers({c.top_k, c.tokens}, 2).to(at::kFloat).t();
  EXPECT_TRUE(
      from_experts(turned, weights, rows).equal(from_experts(routed, weights.contiguous(), rows)));
}

TEST(ExpertRows, HaveGradientsBesideWeightsThatHaveNone) {
  const ExpertCase c{11, 2, 3, 20};
  const ExpertRows rows = expert_rows(chosen_experts(c), c.experts, 4);
  const Tensor tokens = random_numbers({c.tokens, c.width}, 1);
  const Tensor weights = random_numbers({c.tokens, c.top_k}, 2);
  const auto gradient = [&](const Tensor& w) {
    const Tensor leaf = leaf_of(tokens);
    closed_form_loss(from_experts(to_experts(leaf, rows), w, rows)).backward();
    return leaf.grad();
  };
  EXPECT_TRUE(gradient(weights).equal(gradient(leaf_of(weights))));
}

TEST(ExpertRows, AreTheSameForAnyNumberOfThreads) {
  const ExpertCase c{700, 2, 8, 96};
  const ExpertRows rows = expert_rows(chosen_experts(c), c.experts, 64);
  const Tensor tokens = random_numbers({c.tokens, c.width}, 1).to(at::kBFloat16);
  const Tensor weights = random_numbers({c.tokens, c.top_k}, 2).to(at::kFloat);
  const auto results = [&](int threads) {
    at::set_num_threads(threads);
    const Tensor x = leaf_of(tokens), w = leaf_of(weights);
    const Tensor y = from_experts(to_experts(x, rows), w, rows);
    closed_form_loss(y).backward();
    return std::vector<Tensor>{y.detach(), x.grad(), w.grad()};
  };
  const int before = at::get_num_threads();
  const std::vector<Tensor> one = results(1), three = results(3);
  at::set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(three[i])) << i;
}

TEST(ExpertRowsDeathTest, RefusesOtherShapes) {
  const ExpertRows rows = expert_rows(at::tensor({0, 2, 1, 2}, at::kLong).view({2, 2}), 3, 2);
  const Tensor tokens = random_numbers({2, 5}, 1), weights = random_numbers({2, 2}, 2);
  EXPECT_DEATH(expert_rows(at::tensor({0, 3}, at::kLong).view({1, 2}), 3, 2), "expert 3 of 3");
  EXPECT_DEATH(expert_rows(tokens, 3, 2), "expert_rows of experts CPUDoubleType \\[2, 5\\]");
  EXPECT_DEATH(to_experts(tokens.narrow(0, 0, 1), rows), "tokens CPUDoubleType \\[1, 5\\]");
  EXPECT_DEATH(to_experts(tokens.to(at::kHalf), rows), "tokens CPUHalfType \\[2, 5\\]");
  const Tensor outputs = to_experts(tokens, rows);
  EXPECT_DEATH(from_experts(outputs, weights.to(at::kFloat), rows),
               "weights are CPUFloatType \\[2, 2\\].*expected Double");
  EXPECT_DEATH(from_experts(outputs.narrow(0, 0, 4), weights, rows),
               "outputs CPUDoubleType \\[4, 5\\] on cpu, expected 6 rows");
}

}  // namespace
}  // namespace weft
