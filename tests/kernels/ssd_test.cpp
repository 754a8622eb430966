#include "models/kernels/ssd.h"

#include <algorithm>
#include <tuple>

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/kernels/ssd_case.h"
#include "tests/support/closeness.h"
#include "tests/support/gradient_check.h"

namespace weft {
namespace {

auto chunked(int64_t chunk_size) {
  return [chunk_size](const SsdInputs& in) { return ssd(in, chunk_size); };
}

void expect_close(const std::vector<Tensor>& ours, const std::vector<Tensor>& truth) {
  for (size_t i = 0; i < ours.size(); ++i) {
    // Rounding of 1e-16 at each of at most some thousand additions.
    EXPECT_LE(max_difference(ours[i], truth[i]), 1e-12 * max_magnitude(truth[i])) << kSsdResults[i];
  }
}

constexpr int64_t kChunkSizes[] = {1, 4, 16, 64, 256};

void expect_all_as_exact(const std::vector<Tensor>& ours, const std::vector<Tensor>& plain,
                         const std::vector<Tensor>& truth) {
  for (size_t i = 0; i < ours.size(); ++i) {
    expect_as_exact(ours[i], plain[i], truth[i], kSsdResults[i].c_str());
  }
}

class SsdSizes : public testing::TestWithParam<std::tuple<int64_t, int64_t, SsdStart>> {
 protected:
  SsdInputs inputs(at::ScalarType type) const {
    const auto [time, groups, start] = GetParam();
    return ssd_inputs({2, time, 4, 5, groups, 7}, type, start);
  }
};

TEST_P(SsdSizes, EqualsTheReferenceInDouble) {
  const SsdInputs in = inputs(at::kDouble);
  const auto truth = ssd_results(ssd_reference, in, at::kDouble);
  for (const int64_t chunk_size : kChunkSizes) {
    const testing::ScopedTrace trace(__FILE__, __LINE__, chunk_size);
    expect_close(ssd_results(chunked(chunk_size), in, at::kDouble), truth);
    const SsdOutputs out = ssd(in, chunk_size);  // without gradients
    expect_close({out.y, out.final_state}, {truth[0], truth[1]});
  }
}

TEST_P(SsdSizes, IsAsExactAsPlainOperators) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const SsdInputs in = inputs(type);
    const auto truth = ssd_results(ssd_reference, in, at::kDouble);
    const auto plain = ssd_results(ssd_reference, in, type);
    for (const int64_t chunk_size : kChunkSizes) {
      const testing::ScopedTrace trace(__FILE__, __LINE__, chunk_size);
      expect_all_as_exact(ssd_results(chunked(chunk_size), in, type), plain, truth);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Odd, SsdSizes,
                         testing::Combine(testing::Values(1, 5, 16, 59, 97), testing::Values(1, 2),
                                          testing::Values(SsdStart::kZeros, SsdStart::kState)));

TEST(Ssd, EqualsTheReferenceWhereAllSizesAreOne) {
  const SsdInputs in = ssd_inputs({1, 1, 1, 1, 1, 1}, at::kDouble, SsdStart::kState);
  expect_close(ssd_results(chunked(1), in, at::kDouble),
               ssd_results(ssd_reference, in, at::kDouble));
}

// With 4 MiB a pass: three rows of 7 chunks; two rows of one chunk and one row of two; one of one.
TEST(Ssd, EqualsTheReferenceInSeveralPasses) {
  const SsdInputs in = ssd_inputs({3, 333, 24, 2, 3, 2}, at::kDouble, SsdStart::kState);
  const auto truth = ssd_results(ssd_reference, in, at::kDouble);
  for (const int64_t chunk_size : {32, 100, 160}) {
    expect_close(ssd_results(chunked(chunk_size), in, at::kDouble), truth);
  }
}

TEST(Ssd, PassesCentralDifferences) {
  SsdInputs in = ssd_inputs({2, 23, 4, 3, 2, 5}, at::kDouble, SsdStart::kState);
  const auto grads = ssd_results(chunked(8), in, at::kDouble);
  const auto loss = [&] {
    const Tensor y = ssd(in, 8).y;
    return (y * ssd_loss_weight(y)).sum().item<double>();
  };
  const auto inputs = differentiable(in);
  for (size_t i = 0; i < inputs.size(); ++i) {
    expect_gradient(kSsdResults[i + 2], loss, *inputs[i], grads[i + 2]);
  }
}

// Tokens first .. first + length - 1 of every input.
SsdInputs slice_time(const SsdInputs& in, int64_t first, int64_t length) {
  SsdInputs out = in;
  for (Tensor* t : {&out.x, &out.dt, &out.b, &out.c, &out.starts}) {
    *t = t->narrow(1, first, length);
  }
  return out;
}

TEST(Ssd, GoesOnFromTheStateOfAnEarlierCall) {
  const SsdInputs in = ssd_inputs({3, 50, 4, 5, 2, 7}, at::kDouble, SsdStart::kState);
  const SsdOutputs whole = ssd(in, 16);
  for (const int64_t cut : {0, 1, 16, 23, 49, 50}) {
    const SsdOutputs head = ssd(slice_time(in, 0, cut), 16);
    SsdInputs rest = slice_time(in, cut, 50 - cut);
    rest.initial_state = head.final_state;
    const SsdOutputs tail = ssd(rest, 16);
    EXPECT_LE(max_difference(at::cat({head.y, tail.y}, 1), whole.y), 1e-12 * max_magnitude(whole.y))
        << cut;
    EXPECT_LE(max_difference(tail.final_state, whole.final_state),
              1e-12 * max_magnitude(whole.final_state))
        << cut;
  }
}

TEST(Ssd, DecodesTokenByToken) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const SsdInputs in = ssd_inputs({3, 20, 4, 5, 2, 7}, type);
    const SsdOutputs whole = ssd_reference(in);
    Tensor state;
    for (int64_t t = 0; t < 20; ++t) {
      SsdInputs token = slice_time(in, t, 1);
      token.initial_state = state;
      const SsdOutputs out = ssd(token, 64);
      state = out.final_state;
      // One rounding to the storage type, and some dozens before it.
      const double unit = type == at::kDouble ? 1e-15 : type == at::kFloat ? 1e-6 : 1.0 / 128;
      EXPECT_LE(max_difference(out.y.squeeze(1), whole.y.select(1, t)),
                unit * max_magnitude(whole.y))
          << t;
    }
  }
}

TEST(Ssd, LeavesTheInitialStateAsItWas) {
  for (const int64_t time : {0, 1, 20}) {
    const SsdInputs in = ssd_inputs({2, time, 4, 5, 2, 7}, at::kFloat, SsdStart::kState);
    const Tensor before = in.initial_state.clone();
    const SsdOutputs out = ssd(in, 8);
    EXPECT_TRUE(in.initial_state.equal(before));
    EXPECT_NE(out.final_state.const_data_ptr(), in.initial_state.const_data_ptr());
  }
}

class PackedSsd : public testing::TestWithParam<std::vector<int64_t>> {};

TEST_P(PackedSsd, GivesWhatEachDocumentGivesAlone) {
  constexpr int64_t kTime = 66, kChunk = 16;
  SsdInputs in = ssd_inputs({2, kTime, 4, 5, 2, 7}, at::kDouble);
  std::vector<int64_t> bounds = GetParam();
  in.starts = at::zeros({2, kTime}, at::kBool);
  for (const int64_t start : bounds) in.starts.select(1, start).fill_(true);
  bounds.push_back(kTime);
  const Tensor weight = ssd_loss_weight(in.x);
  const auto run = [](SsdInputs part, const Tensor& dy) {
    for (Tensor* t : differentiable(part)) *t = t->detach().clone().set_requires_grad(true);
    const Tensor y = ssd(part, kChunk).y;
    y.backward(dy);
    return std::vector<Tensor>{y.detach(), part.x.grad(), part.dt.grad(), part.b.grad(),
                               part.c.grad()};
  };
  const char* names[] = {"y", "dx", "ddt", "db", "dc"};
  const auto packed = run(in, weight);
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    const int64_t first = bounds[i], length = bounds[i + 1] - bounds[i];
    const auto alone = run(slice_time(in, first, length), weight.narrow(1, first, length));
    for (size_t k = 0; k < alone.size(); ++k) {
      EXPECT_LE(max_difference(packed[k].narrow(1, first, length), alone[k]),
                1e-13 * max_magnitude(packed[k]))
          << names[k] << " of the document at " << first;
    }
  }
}

std::vector<int64_t> every_token() {
  std::vector<int64_t> starts(66);
  for (size_t i = 0; i < starts.size(); ++i) starts[i] = static_cast<int64_t>(i);
  return starts;
}

INSTANTIATE_TEST_SUITE_P(Starts, PackedSsd,
                         testing::Values(std::vector<int64_t>{0, 7, 50, 65},   // inside chunks
                                         std::vector<int64_t>{0, 16, 32, 64},  // at their borders
                                         std::vector<int64_t>{0, 15, 17, 47, 48, 49},
                                         every_token()));

// With the same input at every token the state is a geometric sum:
//   h_t = u B (1 - r^(t+1)) / (1 - r), r = exp(dt a).
TEST(Ssd, SumsAGeometricSeries) {
  const auto all = [](std::vector<int64_t> sizes, double value) {
    return at::full(sizes, value, at::TensorOptions(at::kDouble));
  };
  const SsdInputs in{all({1, 40, 1, 1}, 3),
                     all({1, 40, 1}, 0.5),
                     all({1}, -0.4),
                     all({1, 40, 1, 1}, 2),
                     all({1, 40, 1, 1}, 5),
                     all({1}, 0.25),
                     at::zeros({1, 40}, at::kBool),
                     {}};
  const Tensor y = ssd(in, 16).y.reshape(-1);
  const double r = std::exp(-0.2);
  for (int64_t t = 0; t < 40; ++t) {
    const double h = 0.5 * 3 * 2 * (1 - std::pow(r, t + 1)) / (1 - r);
    EXPECT_NEAR(y[t].item<double>(), 5 * h + 0.25 * 3, 1e-12);
  }
}

// Over a whole document the gradient of dt_t a is sum_{i>=t} (y_i dy_i - u_i du_i) without the
// skip: nothing of the chunked form is in it (spec/models.md 10).
TEST(Ssd, DecayGradientIsTheDifferenceOfTwoSums) {
  SsdInputs in = ssd_inputs({1, 50, 3, 4, 1, 6}, at::kDouble);
  in.starts.zero_();
  in.d.zero_();
  const auto r = ssd_results(chunked(16), in, at::kDouble);
  const Tensor dy = ssd_loss_weight(r[0]);
  const Tensor from_x = (in.x * r[2]).sum(-1);  // x . dx = u . du
  const Tensor decay = ((r[0] * dy).sum(-1) - from_x).flip(1).cumsum(1).flip(1);
  EXPECT_LE(max_difference(r[3], in.a * decay + from_x / in.dt), 1e-12 * max_magnitude(r[3]));
  EXPECT_LE(max_difference(r[4], (in.dt * decay).sum(at::IntArrayRef{0, 1})),
            1e-12 * max_magnitude(r[4]));
}

// One step that forgets all must not cost the sums of the later ones their digits.
TEST(Ssd, StaysExactAfterStepsThatForgetAll) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    SsdInputs in = ssd_inputs({2, 40, 4, 3, 2, 5}, type);
    in.dt.select(2, 1).fill_(0);     // keeps all and adds nothing
    in.dt.select(2, 2).mul_(2000);   // forgets all
    in.dt.select(1, 20).fill_(1e8);  // one step that forgets
    const auto truth = ssd_results(ssd_reference, in, at::kDouble);
    const auto plain = ssd_results(ssd_reference, in, type);
    const auto ours = ssd_results(chunked(16), in, type);
    expect_all_as_exact(ours, plain, truth);
    // Beside what is left of the large step, whose magnitude hides all else.
    in.b.select(1, 20).fill_(0);
    in.c.select(1, 20).fill_(0);
    const SsdOutputs exact = ssd_reference(in), out = ssd(in, 16);
    for (const auto& [first, length] : {std::pair{0, 20}, std::pair{21, 19}}) {
      const Tensor expected = exact.y.narrow(1, first, length);
      EXPECT_LE(max_difference(out.y.narrow(1, first, length), expected),
                (type == at::kFloat ? 1e-5 : 1e-11) * max_magnitude(expected));
    }
  }
}

// Heads whose decays are short beside the chunk: sums of hundreds, of which the last few count.
TEST(Ssd, StaysExactInLongChunks) {
  SsdInputs in = ssd_inputs({1, 300, 4, 3, 2, 5}, at::kFloat);
  in.starts.zero_();
  in.a.mul_(20);
  const auto truth = ssd_results(ssd_reference, in, at::kDouble);
  const auto plain = ssd_results(ssd_reference, in, at::kFloat);
  expect_all_as_exact(ssd_results(chunked(300), in, at::kFloat), plain, truth);
}

TEST(Ssd, ReadsSlicesAndTransposedInput) {
  const SsdInputs dense = ssd_inputs({2, 45, 4, 3, 2, 6}, at::kFloat, SsdStart::kState);
  SsdInputs in = dense;
  const Tensor xbc = at::cat({dense.x.flatten(2), dense.b.flatten(2), dense.c.flatten(2)}, 2);
  in.x = xbc.narrow(2, 0, 12).unflatten(2, {4, 3});
  in.b = xbc.narrow(2, 12, 12).unflatten(2, {2, 6});
  in.c = xbc.narrow(2, 24, 12).unflatten(2, {2, 6});
  in.dt = dense.dt.transpose(1, 2).contiguous().transpose(1, 2);
  in.starts = dense.starts.t().contiguous().t();
  in.initial_state = dense.initial_state.transpose(2, 3).contiguous().transpose(2, 3);
  const auto a = ssd_results(chunked(16), in, at::kFloat);
  const auto b = ssd_results(chunked(16), dense, at::kFloat);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << kSsdResults[i];
}

TEST(Ssd, TakesAnExpandedGradient) {
  SsdInputs in = ssd_inputs({2, 9, 4, 3, 2, 5}, at::kDouble);
  SsdInputs twin = in;
  for (Tensor* t : {&in.x, &twin.x}) *t = t->clone().set_requires_grad(true);
  ssd(in, 4).y.sum().backward();
  ssd_reference(twin).y.sum().backward();
  EXPECT_LE(max_difference(in.x.grad(), twin.x.grad()), 1e-13 * max_magnitude(twin.x.grad()));
}

TEST(Ssd, TakesEmptyInput) {
  for (const SsdCase& size :
       {SsdCase{0, 5, 4, 3, 2, 5}, SsdCase{2, 0, 4, 3, 2, 5}, SsdCase{2, 5, 0, 3, 2, 5},
        SsdCase{2, 5, 4, 0, 2, 5}, SsdCase{2, 5, 4, 3, 2, 0}, SsdCase{0, 1, 4, 3, 2, 5}}) {
    for (const SsdStart start : {SsdStart::kZeros, SsdStart::kState}) {
      const SsdInputs in = ssd_inputs(size, at::kDouble, start);
      const auto ours = ssd_results(chunked(4), in, at::kDouble);
      const SsdOutputs out = ssd(in, 4);
      EXPECT_EQ(out.y.sizes(), in.x.sizes());
      expect_close(ours, ssd_results(ssd_reference, in, at::kDouble));
    }
  }
}

TEST(Ssd, KeepsTheStateWhereThereAreNoTokens) {
  const SsdInputs in = ssd_inputs({2, 0, 4, 3, 2, 5}, at::kFloat, SsdStart::kState);
  EXPECT_TRUE(ssd(in, 4).final_state.equal(in.initial_state));
}

TEST(Ssd, GivesTheSameBitsEveryTime) {
  const SsdInputs in = ssd_inputs({2, 300, 8, 16, 2, 16}, at::kFloat);
  const auto once = ssd_results(chunked(64), in, at::kFloat);
  const auto again = ssd_results(chunked(64), in, at::kFloat);
  for (size_t i = 0; i < once.size(); ++i) EXPECT_TRUE(once[i].equal(again[i])) << kSsdResults[i];
}

TEST(SsdDeathTest, WrongInputIsAProgrammersError) {
  const SsdInputs good = ssd_inputs({2, 5, 4, 3, 2, 5}, at::kBFloat16, SsdStart::kState);
  SsdInputs in = good;
  in.dt = in.dt.narrow(1, 0, 4);
  EXPECT_DEATH(ssd(in, 4), "ssd: dt is .*\\[2, 4, 4\\], expected .*\\[2, 5, 4\\]");
  in = good;
  in.dt = in.dt.to(at::kBFloat16);
  EXPECT_DEATH(ssd(in, 4), "ssd: dt is .*BFloat16.*, expected Float");
  in = good;
  in.b = in.b.repeat_interleave(2, 2).narrow(2, 0, 3);
  EXPECT_DEATH(ssd(in, 4), "4 heads in 3 groups");
  in = good;
  in.initial_state.set_requires_grad(true);
  EXPECT_DEATH(ssd(in, 4), "not differentiable in initial_state");
  EXPECT_DEATH(ssd(ssd_inputs({2, 5, 4, 3, 2, 5}, at::kFloat), 0), "chunks of 0 tokens");
}

}  // namespace
}  // namespace weft
