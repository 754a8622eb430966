#include "models/kernels/selective_scan.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linspace.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/kernels/isas.h"
#include "tests/kernels/scan_case.h"
#include "tests/support/closeness.h"
#include "tests/support/gradient_check.h"

namespace weft {
namespace {

auto kernel(cpu::Isa isa) {
  return [isa](const SelectiveScanInputs& in) { return selective_scan(in, isa); };
}

std::vector<Tensor> best_results(const SelectiveScanInputs& in) {
  return scan_results(kernel(cpu::best_isa()), in, in.x.scalar_type());
}

void expect_equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << kScanResults[i];
}

class SelectiveScanSizes : public testing::TestWithParam<ScanCase> {};

TEST_P(SelectiveScanSizes, IsAsExactAsPlainOperators) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const SelectiveScanInputs in = scan_inputs(GetParam(), type);
    const auto truth = scan_results(selective_scan_reference, in, at::kDouble);
    const auto plain = scan_results(selective_scan_reference, in, type);
    for (const cpu::Isa isa : supported_isas()) {
      const auto ours = scan_results(kernel(isa), in, type);
      for (size_t i = 0; i < ours.size(); ++i) {
        expect_as_exact(ours[i], plain[i], truth[i], kScanResults[i].c_str());
      }
    }
  }
}

TEST_P(SelectiveScanSizes, EqualsTheReferenceInDouble) {
  const SelectiveScanInputs in = scan_inputs(GetParam(), at::kDouble);
  const auto truth = scan_results(selective_scan_reference, in, at::kDouble);
  for (const cpu::Isa isa : supported_isas()) {
    const auto ours = scan_results(kernel(isa), in, at::kDouble);
    for (size_t i = 0; i < ours.size(); ++i) {
      // Rounding of 1e-16 at each of at most some thousand additions.
      EXPECT_LE(max_difference(ours[i], truth[i]), 1e-12 * max_magnitude(truth[i]))
          << kScanResults[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, SelectiveScanSizes,
                         testing::Values(ScanCase{1, 1, 1, 1}, ScanCase{2, 59, 3, 3},
                                         ScanCase{1, 97, 59, 16}, ScanCase{2, 64, 65, 17},
                                         ScanCase{3, 33, 128, 8}, ScanCase{1, 1025, 3, 16},
                                         ScanCase{1, 31, 1025, 5}, ScanCase{1, 40, 2, 95}));

TEST(SelectiveScan, PassesCentralDifferences) {
  for (const cpu::Isa isa : supported_isas()) {
    SelectiveScanInputs in = scan_inputs({2, 67, 5, 11}, at::kDouble);
    const auto grads = scan_results(kernel(isa), in, at::kDouble);
    const auto loss = [&] {
      const Tensor y = selective_scan(in, isa);
      return (y * scan_loss_weight(y)).sum().item<double>();
    };
    const auto inputs = differentiable(in);
    for (size_t i = 0; i < inputs.size(); ++i) {
      expect_gradient(kScanResults[i + 1], loss, *inputs[i], grads[i + 1]);
    }
  }
}

class PackedDocuments : public testing::TestWithParam<std::vector<int64_t>> {};

// Bit for bit: a start makes the kernel forget all, wherever it stands in a chunk.
TEST_P(PackedDocuments, GiveWhatEachGivesAlone) {
  constexpr int64_t kTime = 130;
  SelectiveScanInputs in = scan_inputs({1, kTime, 70, 9}, at::kFloat);
  std::vector<int64_t> bounds = GetParam();
  in.starts = at::zeros({1, kTime}, at::kBool);
  for (const int64_t start : bounds) in.starts.select(1, start).fill_(true);
  bounds.push_back(kTime);
  const Tensor weight = scan_loss_weight(in.x);
  const auto run = [](SelectiveScanInputs part, const Tensor& dy) {
    for (Tensor* t : differentiable(part)) *t = t->detach().clone().set_requires_grad(true);
    const Tensor y = selective_scan(part);
    y.backward(dy);
    return std::vector<Tensor>{y.detach(),    part.x.grad(), part.dt.grad(),
                               part.b.grad(), part.c.grad(), part.z.grad()};
  };
  const auto packed = run(in, weight);
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    const int64_t first = bounds[i], length = bounds[i + 1] - bounds[i];
    const auto alone = run(slice_time(in, first, length), weight.narrow(1, first, length));
    for (size_t k = 0; k < alone.size(); ++k) {
      EXPECT_TRUE(packed[k].narrow(1, first, length).equal(alone[k]))
          << kScanResults[k] << " of the document at " << first;
    }
  }
}

std::vector<int64_t> every_token() {
  std::vector<int64_t> starts(130);
  for (size_t i = 0; i < starts.size(); ++i) starts[i] = static_cast<int64_t>(i);
  return starts;
}

INSTANTIATE_TEST_SUITE_P(Starts, PackedDocuments,
                         testing::Values(std::vector<int64_t>{0, 7, 50, 129},   // inside chunks
                                         std::vector<int64_t>{0, 32, 64, 128},  // at their borders
                                         std::vector<int64_t>{0, 31, 33, 95, 96, 97},
                                         every_token()));

TEST(SelectiveScan, ReadsSlicesAndTransposedInputInPlace) {
  const SelectiveScanInputs dense = scan_inputs({2, 45, 19, 6}, at::kFloat);
  SelectiveScanInputs in = dense;
  const Tensor xz = at::cat({dense.x, dense.z}, 2);
  in.x = xz.narrow(2, 0, 19);
  in.z = xz.narrow(2, 19, 19);
  const Tensor bc = at::cat({dense.b, dense.c}, 2);
  in.b = bc.narrow(2, 0, 6);
  in.c = bc.narrow(2, 6, 6);
  in.dt = dense.dt.transpose(1, 2).contiguous().transpose(1, 2);
  in.a_log = dense.a_log.t().contiguous().t();
  in.starts = dense.starts.t().contiguous().t();
  expect_equal(best_results(in), best_results(dense));
}

TEST(SelectiveScan, TakesAnExpandedGradient) {
  SelectiveScanInputs in = scan_inputs({2, 9, 5, 3}, at::kDouble);
  SelectiveScanInputs twin = in;
  for (Tensor* t : {&in.x, &twin.x}) *t = t->clone().set_requires_grad(true);
  selective_scan(in).sum().backward();
  selective_scan_reference(twin).sum().backward();
  EXPECT_LE(max_difference(in.x.grad(), twin.x.grad()), 1e-13 * max_magnitude(twin.x.grad()));
}

TEST(SelectiveScan, TakesEmptyInput) {
  for (const ScanCase& size :
       {ScanCase{0, 5, 3, 2}, ScanCase{2, 0, 3, 2}, ScanCase{2, 5, 0, 2}, ScanCase{2, 5, 3, 0}}) {
    const SelectiveScanInputs in = scan_inputs(size, at::kFloat);
    const auto results = best_results(in);
    EXPECT_EQ(results[0].sizes(), in.x.sizes());
    for (size_t i = 6; i < results.size() && size.states > 0; ++i) {
      EXPECT_EQ(max_magnitude(results[i]), 0) << kScanResults[i];
    }
  }
}

TEST(SelectiveScan, KeepsTheSkipWhereThereAreNoStates) {
  const SelectiveScanInputs in = scan_inputs({2, 40, 70, 0}, at::kDouble);
  const auto ours = best_results(in);
  const auto truth = scan_results(selective_scan_reference, in, at::kDouble);
  for (const size_t i : {0, 1, 5, 7}) {  // y, dx, dz, dd
    EXPECT_LE(max_difference(ours[i], truth[i]), 1e-13 * max_magnitude(truth[i]))
        << kScanResults[i];
  }
  EXPECT_EQ(max_magnitude(ours[2]), 0);
}

// Step sizes and gates where the exponentials end: softplus is the identity above 20.
TEST(SelectiveScan, HoldsAtTheEndsOfTheRange) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    SelectiveScanInputs in = scan_inputs({1, 41, 17, 4}, type);
    in.dt = at::linspace(-120, 120, 41 * 17, at::TensorOptions(type)).reshape({1, 41, 17});
    in.z = in.dt.flip(1);
    const auto truth = scan_results(selective_scan_reference, in, at::kDouble);
    const auto plain = scan_results(selective_scan_reference, in, type);
    for (const cpu::Isa isa : supported_isas()) {
      const auto ours = scan_results(kernel(isa), in, type);
      for (size_t i = 0; i < ours.size(); ++i) {
        expect_as_exact(ours[i], plain[i], truth[i], kScanResults[i].c_str());
      }
    }
  }
}

TEST(SelectiveScan, NotANumberStaysInItsDocument) {
  SelectiveScanInputs in = scan_inputs({1, 6, 20, 3}, at::kFloat);
  in.starts.zero_().select(1, 3).fill_(true);
  in.dt.select(1, 1).fill_(std::nan(""));
  const Tensor y = selective_scan(in);
  EXPECT_TRUE(y.narrow(1, 0, 1).isfinite().all().item<bool>());
  EXPECT_TRUE(y.narrow(1, 1, 2).isnan().all().item<bool>());
  EXPECT_TRUE(y.narrow(1, 3, 3).isfinite().all().item<bool>());
}

TEST(SelectiveScan, IsBitEqualForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  const SelectiveScanInputs in = scan_inputs({3, 100, 200, 16}, at::kFloat);
  at::set_num_threads(1);
  const auto one = best_results(in);
  expect_equal(one, best_results(in));
  for (const int count : {2, 3, 7}) {
    at::set_num_threads(count);
    expect_equal(one, best_results(in));
  }
  at::set_num_threads(threads);
}

TEST(SelectiveScan, GivesTheSameWithoutGradients) {
  SelectiveScanInputs in = scan_inputs({2, 50, 20, 4}, at::kFloat);
  const Tensor expected = best_results(in)[0];
  EXPECT_TRUE(selective_scan(in).equal(expected));
  in.x.set_requires_grad(true);
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(selective_scan(in).equal(expected));
}

TEST(SelectiveScanDeathTest, WrongShapeIsAProgrammersError) {
  SelectiveScanInputs in = scan_inputs({2, 5, 3, 2}, at::kFloat);
  in.dt = in.dt.narrow(1, 0, 4);
  EXPECT_DEATH(selective_scan(in),
               "selective_scan: dt is .*\\[2, 4, 3\\], expected .*\\[2, 5, 3\\]");
}

// Each of its inputs in a shape and in a type that is not its own.
TEST(SelectiveScanDeathTest, EveryInputIsLookedAt) {
  const SelectiveScanInputs right = scan_inputs({2, 5, 3, 2}, at::kFloat);
  Tensor SelectiveScanInputs::*const inputs[] = {
      &SelectiveScanInputs::dt,    &SelectiveScanInputs::c, &SelectiveScanInputs::z,
      &SelectiveScanInputs::a_log, &SelectiveScanInputs::d, &SelectiveScanInputs::dt_bias,
      &SelectiveScanInputs::starts};
  for (const auto input : inputs) {
    SelectiveScanInputs wrong = right;
    wrong.*input = (right.*input).narrow(0, 0, 1);
    EXPECT_DEATH(selective_scan(wrong), "selective_scan: [a-z_]+ is .*, expected");
    wrong.*input = (right.*input).to(at::kDouble);
    EXPECT_DEATH(selective_scan(wrong), "selective_scan: [a-z_]+ is .*, expected");
    wrong.*input = Tensor();
    EXPECT_DEATH(selective_scan(wrong), "selective_scan: [a-z_]+ is undefined .*, expected");
  }
  SelectiveScanInputs half = right;
  half.x = right.x.to(at::kHalf);
  EXPECT_DEATH(selective_scan(half), "selective_scan is for fp32, fp64 and bf16");
  SelectiveScanInputs with_a = scan_inputs({2, 1, 3, 2}, at::kFloat);
  with_a.a = with_a.a_log;
  EXPECT_DEATH(selective_scan(with_a), "selective_scan has no initial_state and no a");
}

TEST(SelectiveScanDeathTest, HasNoSecondDerivatives) {
  SelectiveScanInputs in = scan_inputs({2, 5, 3, 2}, at::kFloat);
  in.x.set_requires_grad(true);
  const Tensor y = selective_scan(in).sum();
  EXPECT_DEATH(torch::autograd::grad({y}, {in.x}, {}, true, /*create_graph=*/true),
               "selective_scan is differentiated at most once");
}

}  // namespace
}  // namespace weft
