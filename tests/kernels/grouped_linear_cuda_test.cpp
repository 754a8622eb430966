#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/cuda_device.h"
#include "tests/kernels/grouped_linear_case.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

class GroupedLinearCuda : public testing::TestWithParam<GroupedCase> {};

// One product for all groups in bf16 (widths by 8), one for each elsewhere; straight and by sums.
TEST_P(GroupedLinearCuda, IsAsExactAsTheCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  const GroupedCase& c = GetParam();
  const GroupedInputs in = grouped_inputs(c);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const auto run = [&](at::Device device, at::ScalarType as) {
      const auto placed = [&](const Tensor& t) { return t.to(type).to(device, as); };
      const RowGroups groups = row_groups(c.sizes, device);
      const at::ScalarType wide = as == at::kDouble ? as : at::kFloat;
      const Tensor sum = in.sum.to(device, type == at::kDouble ? type : at::kFloat).to(wide);
      auto results = grouped_results(
          placed(in.x), placed(in.weight), placed(in.dy),
          [&](const Tensor& x, const Tensor& weight) { return grouped_linear(x, groups, weight); });
      grouped_results(placed(in.x), placed(in.weight), placed(in.dy),
                      [&](const Tensor& x, const Tensor& weight) {
                        return grouped_linear(x, groups, weight, sum);
                      });
      results.push_back(sum);
      return results;
    };
    const auto truth = run(at::kCPU, at::kDouble), ours = run(at::kCUDA, type);
    auto twin = run(at::kCPU, type);
    // On a GPU a product is rounded to bf16 before it is added (models/kernels/matmul.h).
    if (type == at::kBFloat16) twin[3] = (in.sum.to(at::kFloat) + twin[2]).to(at::kFloat);
    for (size_t i = 0; i < ours.size(); ++i) {
      expect_as_exact(ours[i].cpu(), twin[i], truth[i], std::to_string(i).c_str());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GroupedLinearCuda, testing::ValuesIn(kGroupedCases));

TEST(RowGroupsCuda, EndWhereTheyDoOnTheCpu) {
  WEFT_NEEDS_CUDA_DEVICE();
  const RowGroups there = row_groups({3, 0, 5, 2}, at::kCUDA).part(2, 5);
  const RowGroups here = row_groups({3, 0, 5, 2}, at::kCPU).part(2, 5);
  EXPECT_TRUE(there.ends.cpu().equal(here.ends));
  EXPECT_EQ(there.sizes, here.sizes);
}

}  // namespace
}  // namespace weft
