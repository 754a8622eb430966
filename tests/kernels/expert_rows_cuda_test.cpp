#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/cuda_device.h"
#include "tests/kernels/expert_rows_case.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

class ExpertRowsCuda : public testing::TestWithParam<ExpertCase> {
 protected:
  const ExpertCase c_ = GetParam();
  const Tensor experts_ = chosen_experts(c_);
  const ExpertRows rows_ = expert_rows(experts_, c_.experts, kTestMultiple);
  const Tensor tokens_ = random_numbers({c_.tokens, c_.width}, 1);
  const Tensor weights_ = random_numbers({c_.tokens, c_.top_k}, 2);
  const Tensor outputs_ = random_rows(rows_, c_.width, 3);
};

TEST_P(ExpertRowsCuda, StandWhereTheyDoOnTheCpu) {
  WEFT_NEEDS_CUDA_DEVICE();
  const ExpertRows there = expert_rows(experts_.to(at::kCUDA), c_.experts, kTestMultiple);
  EXPECT_TRUE(there.row.cpu().equal(rows_.row));
  EXPECT_TRUE(there.assignment.cpu().equal(rows_.assignment));
  EXPECT_TRUE(there.counts.equal(rows_.counts));
  EXPECT_EQ(there.groups.sizes, rows_.groups.sizes);
}

TEST_P(ExpertRowsCuda, HoldTokensAndZerosAndGiveBackTheSumsOfGradients) {
  WEFT_NEEDS_CUDA_DEVICE();
  const ExpertRows there = expert_rows(experts_.to(at::kCUDA), c_.experts, kTestMultiple);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const auto run = [&](at::Device device, const ExpertRows& rows, at::ScalarType in) {
      return through_to_experts(tokens_.to(type).to(device, in), outputs_.to(type).to(device, in),
                                [&](const Tensor& t) { return to_experts(t, rows); });
    };
    const auto truth = run(at::kCPU, rows_, at::kDouble), twin = run(at::kCPU, rows_, type);
    const auto ours = run(at::kCUDA, there, type);
    EXPECT_TRUE(ours[0].cpu().equal(twin[0]));
    expect_as_exact(ours[1].cpu(), twin[1], truth[1]);
  }
}

TEST_P(ExpertRowsCuda, AreWeightedAndAddedUpAsByTheCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  const ExpertRows there = expert_rows(experts_.to(at::kCUDA), c_.experts, kTestMultiple);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const auto run = [&](at::Device device, const ExpertRows& rows, at::ScalarType in) {
      const at::ScalarType wide = in == at::kDouble ? in : at::kFloat;
      const Tensor weights = weights_.to(type == at::kDouble ? type : at::kFloat);
      return through_from_experts(
          outputs_.to(type).to(device, in), weights.to(device, wide),
          tokens_.to(type).to(device, in),
          [&](const Tensor& y, const Tensor& w) { return from_experts(y, w, rows); });
    };
    const auto truth = run(at::kCPU, rows_, at::kDouble), twin = run(at::kCPU, rows_, type);
    const auto ours = run(at::kCUDA, there, type), again = run(at::kCUDA, there, type);
    for (size_t i = 0; i < ours.size(); ++i) {
      expect_as_exact(ours[i].cpu(), twin[i], truth[i]);
      EXPECT_TRUE(ours[i].equal(again[i])) << i;
    }
  }
}

// Rows that begin anywhere, although their width asks for 16 bytes at once.
TEST(ExpertRowsCuda, NeedNoAlignment) {
  WEFT_NEEDS_CUDA_DEVICE();
  const ExpertCase c{30, 2, 4, 64};
  const Tensor experts = chosen_experts(c);
  const ExpertRows here = expert_rows(experts, c.experts, kTestMultiple);
  const ExpertRows there = expert_rows(experts.to(at::kCUDA), c.experts, kTestMultiple);
  const auto shifted = [&](const Tensor& t) {  // by one number
    const Tensor memory = at::empty({t.numel() + 1}, t.options().device(at::kCUDA));
    return memory.narrow(0, 1, t.numel()).view(t.sizes()).copy_(t);
  };
  const Tensor tokens = random_numbers({c.tokens, c.width}, 1).to(at::kBFloat16);
  const Tensor weights = random_numbers({c.tokens, c.top_k}, 2).to(at::kFloat);
  EXPECT_TRUE(to_experts(shifted(tokens), there).cpu().equal(to_experts(tokens, here)));
  const Tensor outputs = random_rows(here, c.width, 3).to(at::kBFloat16);
  const Tensor expected = from_experts(outputs, weights, here);
  const Tensor y = from_experts(shifted(outputs), weights.to(at::kCUDA), there);
  // Products and sums in another grouping may round to the neighbour in bf16.
  EXPECT_LE(max_difference(y, expected), 0x1p-7 * max_magnitude(expected));
}

INSTANTIATE_TEST_SUITE_P(Cases, ExpertRowsCuda, testing::ValuesIn(kExpertCases));

}  // namespace
}  // namespace weft
