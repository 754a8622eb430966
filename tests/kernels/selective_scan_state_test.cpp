// The selective scan from one state to the next, as decoding runs it.
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "models/kernels/selective_scan.h"
#include "tests/kernels/isas.h"
#include "tests/kernels/scan_case.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

auto kernel(cpu::Isa isa) {
  return [isa](const SelectiveScanInputs& in) { return selective_scan_with_state(in, isa); };
}

// The sequence in calls of `lengths` tokens, each of which goes on from the one before.
ScanOutputs scan_in_parts(SelectiveScanInputs in, const std::vector<int64_t>& lengths,
                          cpu::Isa isa) {
  std::vector<Tensor> parts;
  int64_t first = 0;
  for (const int64_t length : lengths) {
    const ScanOutputs out = selective_scan_with_state(slice_time(in, first, length), isa);
    parts.push_back(out.y);
    in.initial_state = out.final_state;
    first += length;
  }
  return {at::cat(parts, 1), in.initial_state};
}

void expect_equal(const ScanOutputs& a, const ScanOutputs& b, const std::string& what) {
  EXPECT_TRUE(a.y.equal(b.y)) << what;
  EXPECT_TRUE(a.final_state.equal(b.final_state)) << what;
}

// In fp64: rounding of 1e-16 at each of at most some hundred additions.
void expect_close(const ScanOutputs& a, const ScanOutputs& b, const std::string& what) {
  EXPECT_LE(max_difference(a.y, b.y), 1e-13 * max_magnitude(b.y)) << what;
  EXPECT_LE(max_difference(a.final_state, b.final_state), 1e-13 * max_magnitude(b.final_state))
      << what;
}

class ScanStateSizes : public testing::TestWithParam<ScanCase> {};

TEST_P(ScanStateSizes, IsAsExactAsPlainOperators) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const SelectiveScanInputs in = scan_inputs_with_state(GetParam(), type);
    const auto truth = state_results(selective_scan_with_state_reference, in, at::kDouble);
    const auto plain = state_results(selective_scan_with_state_reference, in, type);
    for (const cpu::Isa isa : supported_isas()) {
      const auto ours = state_results(kernel(isa), in, type);
      expect_as_exact(ours[0], plain[0], truth[0], "y");
      expect_as_exact(ours[1], plain[1], truth[1], "final_state");
    }
  }
}

TEST_P(ScanStateSizes, EqualsTheReferenceInDouble) {
  const SelectiveScanInputs in = scan_inputs_with_state(GetParam(), at::kDouble);
  const ScanOutputs truth = selective_scan_with_state_reference(in);
  for (const cpu::Isa isa : supported_isas()) {
    expect_close(selective_scan_with_state(in, isa), truth, "");
  }
}

// a_log is not read then.
TEST_P(ScanStateSizes, MayBeGivenAForOneToken) {
  if (GetParam().time != 1) return;
  SelectiveScanInputs in = scan_inputs_with_state(GetParam(), at::kDouble);
  const ScanOutputs truth = selective_scan_with_state_reference(in);
  const auto exact = state_results(selective_scan_with_state_reference, in, at::kDouble);
  const auto plain = state_results(selective_scan_with_state_reference, in, at::kFloat);
  in.a = -in.a_log.exp();
  in.a_log = in.a_log * NAN;
  for (const cpu::Isa isa : supported_isas()) {
    expect_close(selective_scan_with_state(in, isa), truth, "fp64");
    const auto ours = state_results(kernel(isa), in, at::kFloat);
    expect_as_exact(ours[0], plain[0], exact[0], "y");
    expect_as_exact(ours[1], plain[1], exact[1], "final_state");
  }
}

// Bit for bit: a part of the state that is written before it is read would show.
TEST_P(ScanStateSizes, MayUpdateTheStateInPlace) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    SelectiveScanInputs in = scan_inputs_with_state(GetParam(), type);
    for (const cpu::Isa isa : supported_isas()) {
      const ScanOutputs apart = selective_scan_with_state(in, isa);
      SelectiveScanInputs shared = in;
      shared.initial_state = in.initial_state.clone();
      const ScanOutputs out = selective_scan_with_state(shared, shared.initial_state, isa);
      expect_equal(out, apart, "");
      EXPECT_TRUE(out.final_state.is_same(shared.initial_state));
      EXPECT_TRUE(shared.initial_state.equal(apart.final_state));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, ScanStateSizes,
                         testing::Values(ScanCase{1, 1, 1, 1}, ScanCase{3, 1, 59, 16},
                                         ScanCase{1, 1, 97, 3}, ScanCase{3, 1, 130, 17},
                                         ScanCase{1, 1, 1536, 16}, ScanCase{2, 1, 40, 95},
                                         ScanCase{1, 59, 97, 3}, ScanCase{3, 97, 59, 16},
                                         ScanCase{1, 33, 129, 8}));

TEST(ScanState, TwoCallsGiveWhatOneGivesWhereverTheyAreCut) {
  constexpr int64_t kTime = 70;
  for (const int64_t batch : {1, 3}) {
    const SelectiveScanInputs wide = scan_inputs_with_state({batch, kTime, 59, 16}, at::kDouble);
    const SelectiveScanInputs in = scan_inputs_with_state({batch, kTime, 59, 16}, at::kFloat);
    for (const cpu::Isa isa : supported_isas()) {
      const ScanOutputs whole_wide = selective_scan_with_state(wide, isa);
      const ScanOutputs whole = selective_scan_with_state(in, isa);
      for (int64_t cut = 0; cut <= kTime; ++cut) {
        const std::vector<int64_t> parts = {cut, kTime - cut};
        const std::string what = "cut at " + std::to_string(cut);
        expect_close(scan_in_parts(wide, parts, isa), whole_wide, what);
        // A single token is another kernel, which adds up in another order.
        const bool single = cut == 1 || cut == kTime - 1;
        if (!single) expect_equal(scan_in_parts(in, parts, isa), whole, what);
      }
    }
  }
}

TEST(ScanState, TokenByTokenGivesWhatOnePassGives) {
  constexpr int64_t kTime = 97;
  const std::vector<int64_t> tokens(kTime, 1);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const SelectiveScanInputs in = scan_inputs_with_state({3, kTime, 97, 16}, type);
    const auto truth = state_results(selective_scan_with_state_reference, in, at::kDouble);
    const auto plain = state_results(selective_scan_with_state_reference, in, type);
    for (const cpu::Isa isa : supported_isas()) {
      const ScanOutputs ours = scan_in_parts(in, tokens, isa);
      expect_as_exact(ours.y, plain[0], truth[0], "y");
      expect_as_exact(ours.final_state, plain[1], truth[1], "final_state");
    }
  }
  const SelectiveScanInputs in = scan_inputs_with_state({3, kTime, 59, 17}, at::kDouble);
  for (const cpu::Isa isa : supported_isas()) {
    expect_close(scan_in_parts(in, tokens, isa), selective_scan_with_state(in, isa), "");
  }
}

// A document that starts at token 0 forgets the state, whatever that is.
TEST(ScanState, ADocumentsStartForgetsTheState) {
  for (const int64_t time : {1, 40}) {
    SelectiveScanInputs in = scan_inputs({3, time, 59, 16}, at::kFloat);
    in.starts.zero_();
    in.starts.select(0, 1).select(0, 0).fill_(true);
    SelectiveScanInputs spoiled = in;
    spoiled.initial_state = scan_inputs_with_state({3, time, 59, 16}, at::kFloat).initial_state;
    spoiled.initial_state.select(0, 1).fill_(std::nan(""));
    for (const cpu::Isa isa : supported_isas()) {
      const ScanOutputs fresh = selective_scan_with_state(in, isa);
      const ScanOutputs out = selective_scan_with_state(spoiled, isa);
      for (const int64_t row : {0, 1, 2}) {
        EXPECT_EQ(out.y.select(0, row).equal(fresh.y.select(0, row)), row == 1) << row;
        EXPECT_EQ(out.final_state.select(0, row).equal(fresh.final_state.select(0, row)), row == 1)
            << row;
      }
    }
  }
}

TEST(ScanState, DocumentsMayStartInEachPart) {
  constexpr int64_t kTime = 80, kCut = 37;
  for (const std::vector<int64_t>& starts :
       {std::vector<int64_t>{0, 20, 60}, {kCut}, {kCut - 1, kCut + 1}, {5, kCut, 64}}) {
    SelectiveScanInputs in = scan_inputs_with_state({1, kTime, 59, 16}, at::kFloat);
    in.starts.zero_();
    for (const int64_t start : starts) in.starts.select(1, start).fill_(true);
    expect_equal(scan_in_parts(in, {kCut, kTime - kCut}, cpu::best_isa()),
                 selective_scan_with_state(in), "");
  }
}

TEST(ScanState, WithoutAStateGivesWhatTheScanGives) {
  SelectiveScanInputs in = scan_inputs({2, 50, 59, 16}, at::kFloat);
  in.starts.select(1, 0).fill_(false);
  const ScanOutputs out = selective_scan_with_state(in);
  EXPECT_TRUE(out.y.equal(selective_scan(in)));
  in.initial_state = at::zeros_like(out.final_state);
  expect_equal(selective_scan_with_state(in), out, "");
  const SelectiveScanInputs one = scan_inputs({2, 1, 59, 16}, at::kDouble);
  expect_close(selective_scan_with_state(one), selective_scan_with_state_reference(one), "");
}

TEST(ScanState, ReadsSlicesAndATransposedState) {
  for (const int64_t time : {1, 45}) {
    const SelectiveScanInputs dense = scan_inputs_with_state({2, time, 19, 6}, at::kFloat);
    SelectiveScanInputs in = dense;
    const Tensor xz = at::cat({dense.x, dense.z}, 2), bc = at::cat({dense.b, dense.c}, 2);
    in.x = xz.narrow(2, 0, 19);
    in.z = xz.narrow(2, 19, 19);
    in.b = bc.narrow(2, 0, 6);
    in.c = bc.narrow(2, 6, 6);
    in.initial_state = dense.initial_state.transpose(1, 2).contiguous().transpose(1, 2);
    expect_equal(selective_scan_with_state(in), selective_scan_with_state(dense), "");
  }
}

TEST(ScanState, NoTokensLeaveTheState) {
  SelectiveScanInputs in = scan_inputs_with_state({2, 0, 5, 3}, at::kFloat);
  const ScanOutputs out = selective_scan_with_state(in);
  EXPECT_EQ(out.y.sizes(), in.x.sizes());
  EXPECT_TRUE(out.final_state.equal(in.initial_state));
  EXPECT_TRUE(selective_scan_with_state(in, in.initial_state).final_state.equal(out.final_state));
  in.initial_state = Tensor{};
  EXPECT_EQ(max_magnitude(selective_scan_with_state(in).final_state), 0);
}

TEST(ScanState, TakesEmptyInput) {
  for (const int64_t time : {1, 5}) {
    for (const ScanCase& size :
         {ScanCase{0, time, 3, 2}, ScanCase{2, time, 0, 2}, ScanCase{2, time, 3, 0}}) {
      const SelectiveScanInputs in = scan_inputs_with_state(size, at::kDouble);
      expect_close(selective_scan_with_state(in), selective_scan_with_state_reference(in), "");
    }
  }
}

// So many states that a single token, too, is worth several threads.
TEST(ScanState, IsBitEqualForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const int64_t time : {1, 3}) {
    const SelectiveScanInputs in = scan_inputs_with_state({3, time, 4097, 16}, at::kFloat);
    at::set_num_threads(1);
    const ScanOutputs one = selective_scan_with_state(in);
    for (const int count : {2, 3, 7}) {
      at::set_num_threads(count);
      expect_equal(selective_scan_with_state(in), one, std::to_string(count) + " threads");
    }
  }
  at::set_num_threads(threads);
}

TEST(ScanStateDeathTest, WrongUseIsAProgrammersError) {
  SelectiveScanInputs in = scan_inputs_with_state({2, 5, 3, 2}, at::kFloat);
  EXPECT_DEATH(selective_scan(in), "selective_scan has no initial_state");
  EXPECT_DEATH(selective_scan_with_state(in, in.initial_state.transpose(0, 1)),
               "final_state is .*\\[3, 2, 2\\], expected .*\\[2, 3, 2\\]");
  SelectiveScanInputs wrong = in;
  wrong.initial_state = in.initial_state.transpose(1, 2);
  EXPECT_DEATH(selective_scan_with_state(wrong),
               "initial_state is .*\\[2, 2, 3\\], expected .*\\[2, 3, 2\\]");
  in.x.set_requires_grad(true);
  EXPECT_DEATH(selective_scan_with_state(in), "selective_scan_with_state has no gradients");
  const at::NoGradGuard no_grad;
  EXPECT_EQ(selective_scan_with_state(in).y.sizes(), in.x.sizes());
}

}  // namespace
}  // namespace weft
