#include <cmath>

#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include "models/kernels/selective_scan.h"
#include "tests/kernels/cuda_device.h"
#include "tests/kernels/scan_case.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

// The scan on the GPU of inputs that lie on the CPU; autograd carries the gradients back.
Tensor scan_on_cuda(const SelectiveScanInputs& in) {
  SelectiveScanInputs there = in;
  for (Tensor* t : differentiable(there)) *t = t->to(at::kCUDA);
  there.starts = in.starts.to(at::kCUDA);
  return selective_scan(there).cpu();
}

Tensor scan_on_cpu(const SelectiveScanInputs& in) { return selective_scan(in); }

class SelectiveScanCuda : public testing::TestWithParam<ScanCase> {};

TEST_P(SelectiveScanCuda, IsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const SelectiveScanInputs in = scan_inputs(GetParam(), type);
    const auto truth = scan_results(scan_on_cpu, in, at::kDouble);
    const auto plain = scan_results(selective_scan_reference, in, type);
    const auto ours = scan_results(scan_on_cuda, in, type);
    for (size_t i = 0; i < ours.size(); ++i) {
      expect_as_exact(ours[i], plain[i], truth[i], kScanResults[i].c_str());
    }
  }
}

TEST_P(SelectiveScanCuda, EqualsItsCpuTwinInDouble) {
  WEFT_NEEDS_CUDA_DEVICE();
  const SelectiveScanInputs in = scan_inputs(GetParam(), at::kDouble);
  const auto truth = scan_results(scan_on_cpu, in, at::kDouble);
  const auto ours = scan_results(scan_on_cuda, in, at::kDouble);
  for (size_t i = 0; i < ours.size(); ++i) {
    // Rounding of 1e-16 at each of at most some thousand additions.
    EXPECT_LE(max_difference(ours[i], truth[i]), 1e-12 * max_magnitude(truth[i]))
        << kScanResults[i];
  }
}

TEST_P(SelectiveScanCuda, IsBitEqualInTwoRuns) {
  WEFT_NEEDS_CUDA_DEVICE();
  const SelectiveScanInputs in = scan_inputs(GetParam(), at::kFloat);
  const auto first = scan_results(scan_on_cuda, in, at::kFloat);
  const auto second = scan_results(scan_on_cuda, in, at::kFloat);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(first[i].equal(second[i])) << kScanResults[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, SelectiveScanCuda,
                         testing::Values(ScanCase{1, 1, 1, 1}, ScanCase{3, 1, 97, 17},
                                         ScanCase{2, 59, 3, 3}, ScanCase{1, 97, 59, 16},
                                         ScanCase{2, 64, 65, 17}, ScanCase{1, 1025, 3, 16},
                                         ScanCase{1, 31, 1025, 5}, ScanCase{1, 40, 2, 95}));

// The scan with a state on the GPU, of inputs that lie on the CPU; the state is updated in place.
ScanOutputs scan_with_state_on_cuda(const SelectiveScanInputs& in) {
  SelectiveScanInputs there = in;
  for (Tensor* t : differentiable(there)) *t = t->to(at::kCUDA);
  there.starts = in.starts.to(at::kCUDA);
  there.initial_state = in.initial_state.to(at::kCUDA);
  const ScanOutputs out = selective_scan_with_state(there, there.initial_state);
  return {out.y.cpu(), out.final_state.cpu()};
}

ScanOutputs scan_with_state_on_cpu(const SelectiveScanInputs& in) {
  return selective_scan_with_state(in);
}

TEST_P(SelectiveScanCuda, WithAStateIsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const SelectiveScanInputs in = scan_inputs_with_state(GetParam(), type);
    const auto truth = state_results(scan_with_state_on_cpu, in, at::kDouble);
    const auto plain = state_results(selective_scan_with_state_reference, in, type);
    const auto ours = state_results(scan_with_state_on_cuda, in, type);
    expect_as_exact(ours[0], plain[0], truth[0], "y");
    expect_as_exact(ours[1], plain[1], truth[1], "final_state");
  }
}

// In two calls, the first of which may be a single token.
TEST_P(SelectiveScanCuda, InPartsEqualsItsCpuTwinInDouble) {
  WEFT_NEEDS_CUDA_DEVICE();
  const SelectiveScanInputs in = scan_inputs_with_state(GetParam(), at::kDouble);
  const ScanOutputs truth = selective_scan_with_state(in);
  const int64_t time = GetParam().time;
  for (const int64_t cut : {int64_t{0}, int64_t{1}, time / 2}) {
    const ScanOutputs first = scan_with_state_on_cuda(slice_time(in, 0, cut));
    SelectiveScanInputs rest = slice_time(in, cut, time - cut);
    rest.initial_state = first.final_state;
    const ScanOutputs second = scan_with_state_on_cuda(rest);
    // Rounding of 1e-16 at each of at most some thousand additions.
    EXPECT_LE(max_difference(at::cat({first.y, second.y}, 1), truth.y),
              1e-12 * max_magnitude(truth.y));
    EXPECT_LE(max_difference(second.final_state, truth.final_state),
              1e-12 * max_magnitude(truth.final_state));
  }
}

TEST(SelectiveScanCudaEdges, ADocumentsStartForgetsTheState) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const int64_t time : {1, 40}) {
    SelectiveScanInputs in = scan_inputs_with_state({3, time, 59, 16}, at::kDouble);
    in.starts.select(1, 0).fill_(true);
    const ScanOutputs truth = selective_scan_with_state(in);
    in.initial_state.fill_(std::nan(""));
    const ScanOutputs ours = scan_with_state_on_cuda(in);
    EXPECT_LE(max_difference(ours.y, truth.y), 1e-12 * max_magnitude(truth.y));
    EXPECT_LE(max_difference(ours.final_state, truth.final_state),
              1e-12 * max_magnitude(truth.final_state));
  }
}

TEST(SelectiveScanCudaEdges, TakesEmptyInput) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const ScanCase& size : {ScanCase{0, 5, 3, 2}, ScanCase{2, 0, 3, 2}, ScanCase{2, 5, 0, 2}}) {
    const SelectiveScanInputs in = scan_inputs(size, at::kFloat);
    const auto results = scan_results(scan_on_cuda, in, at::kFloat);
    EXPECT_EQ(results[0].sizes(), in.x.sizes());
    for (size_t i = 6; i < results.size(); ++i) {
      EXPECT_EQ(max_magnitude(results[i]), 0) << kScanResults[i];
    }
  }
}

}  // namespace
}  // namespace weft
