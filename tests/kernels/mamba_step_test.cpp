// One token through a Mamba-1 layer's mixer, against the kernels of its parts, which have tests of
// their own.
#include "models/kernels/mamba_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/causal_conv.h"
#include "models/kernels/rms_norm.h"
#include "models/kernels/row_linear.h"
#include "models/kernels/selective_scan.h"
#include "tests/kernels/isas.h"
#include "tests/kernels/step_types.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

struct StepCase {
  int64_t batch, hidden, channels, taps, rank, states;
  bool norms, conv_bias, proj_bias;
};

Tensor values_of(at::IntArrayRef sizes, double seed, at::ScalarType type) {
  return fill(sizes.vec(), seed).to(type);
}

MambaStepWeights weights_of(const StepCase& c, at::ScalarType storage) {
  const at::ScalarType wide = wide_type(storage);
  MambaStepWeights w{.norm = {values_of({c.hidden}, 1, wide) + 1, 1e-6},
                     .in_x = values_of({c.channels, c.hidden}, 2, storage),
                     .in_z = values_of({c.channels, c.hidden}, 17, storage),
                     .in_x_bias = {},
                     .in_z_bias = {},
                     .conv_weight = values_of({c.channels, c.taps}, 3, wide),
                     .conv_bias = {},
                     .x_dt = values_of({c.rank, c.channels}, 4, storage),
                     .x_b = values_of({c.states, c.channels}, 5, storage),
                     .x_c = values_of({c.states, c.channels}, 6, storage),
                     .dt_norm = {},
                     .b_norm = {},
                     .c_norm = {},
                     .norm_eps = 1e-5,
                     .dt = values_of({c.channels, c.rank}, 7, storage),
                     .dt_bias = values_of({c.channels}, 8, wide),
                     .a = -values_of({c.channels, c.states}, 9, wide).exp(),
                     .d = values_of({c.channels}, 10, wide),
                     .out = values_of({c.hidden, c.channels}, 18, storage),
                     .out_bias = {}};
  if (c.conv_bias) w.conv_bias = values_of({c.channels}, 11, wide);
  if (c.proj_bias) {
    w.in_x_bias = values_of({c.channels}, 19, storage);
    w.in_z_bias = values_of({c.channels}, 20, storage);
    w.out_bias = values_of({c.hidden}, 21, storage);
  }
  if (c.norms) {
    w.dt_norm = values_of({c.rank}, 12, wide) + 1;
    w.b_norm = values_of({c.states}, 13, wide) + 1;
    w.c_norm = values_of({c.states}, 14, wide) + 1;
  }
  return w;
}

// The second row begins a document.
Tensor starts_of(const StepCase& c) {
  Tensor starts = at::zeros({c.batch, 1}, at::kBool);
  if (c.batch > 1) starts[1].fill_(true);
  return starts;
}

MambaStepState state_of(const StepCase& c, at::ScalarType storage) {
  return {values_of({c.batch, c.taps - 1, c.channels}, 15, storage),
          values_of({c.batch, c.channels, c.states}, 16, wide_type(storage))};
}

// The same from the parts' own functions.
Tensor step_by_parts(const MambaStepWeights& w, const Tensor& starts, MambaStepState& state,
                     const Tensor& residual, cpu::Isa isa) {
  const at::ScalarType storage = w.in_x.scalar_type();
  const Tensor u = rms_norm(residual, w.norm.weight, w.norm.eps).to(storage);
  const std::vector<RowLinearLayer> into = {{w.in_x, w.in_x_bias}, {w.in_z, w.in_z_bias}};
  const std::vector<Tensor> xz = row_linear(u, into, isa);
  const Tensor x =
      causal_conv_silu_with_state(xz[0], w.conv_weight, w.conv_bias, starts, state.window, isa);
  const std::vector<RowLinearLayer> layers = {{w.x_dt, {}}, {w.x_b, {}}, {w.x_c, {}}};
  std::vector<Tensor> dbc = row_linear(x, layers, isa);
  if (w.dt_norm.defined()) {
    dbc[0] = rms_norm(dbc[0], w.dt_norm, w.norm_eps);
    dbc[1] = rms_norm(dbc[1], w.b_norm, w.norm_eps);
    dbc[2] = rms_norm(dbc[2], w.c_norm, w.norm_eps);
  }
  const SelectiveScanInputs scan{.x = x,
                                 .dt = row_linear(dbc[0], w.dt, {}, isa),
                                 .b = dbc[1],
                                 .c = dbc[2],
                                 .z = xz[1],
                                 .a_log = (-w.a).log(),
                                 .d = w.d,
                                 .dt_bias = w.dt_bias,
                                 .starts = starts,
                                 .initial_state = state.h,
                                 .a = w.a};
  return residual +
         row_linear(selective_scan_with_state(scan, state.h, isa).y, w.out, w.out_bias, isa);
}

class MambaStepSizes : public testing::TestWithParam<StepCase> {};

// Three tokens in a row, bit for bit, in x, window and state.
TEST_P(MambaStepSizes, EqualsItsPartsForAnyNumberOfThreads) {
  const at::NoGradGuard no_grad;
  const StepCase& c = GetParam();
  for (const StepTypes& types : kStepTypes) {
    const MambaStepWeights w = weights_of(c, types.storage);
    const Tensor starts = starts_of(c);
    for (const cpu::Isa isa : supported_isas()) {
      for_thread_counts([&](int count) {
        MambaStepState ours = state_of(c, types.storage), parts = state_of(c, types.storage);
        for (int token = 0; token < 3; ++token) {
          Tensor x = values_of({c.batch, 1, c.hidden}, 30 + token, types.residual);
          const Tensor expected = step_by_parts(w, starts, parts, x, isa);
          mamba_step(w, starts, ours, x, isa);
          EXPECT_TRUE(x.equal(expected)) << toString(types.residual) << count << token;
          EXPECT_TRUE(ours.window.equal(parts.window)) << toString(types.storage) << count << token;
          EXPECT_TRUE(ours.h.equal(parts.h)) << toString(types.storage) << count << token;
        }
        EXPECT_GT(ours.h.abs().sum().item<double>(), 0.0);
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Some, MambaStepSizes,
                         testing::Values(StepCase{1, 256, 1536, 4, 48, 16, false, true, false},
                                         StepCase{1, 512, 1024, 4, 32, 16, true, true, false},
                                         StepCase{3, 150, 300, 4, 19, 16, true, false, true},
                                         StepCase{1, 1100, 128, 4, 512, 16, true, true, false},
                                         StepCase{2, 3, 1, 2, 1, 1, true, true, true},
                                         StepCase{8, 129, 257, 3, 5, 17, false, false, true},
                                         StepCase{1, 70, 700, 1, 130, 3, false, true, false}));

TEST(MambaStep, NothingForAnEmptyBatch) {
  const at::NoGradGuard no_grad;
  const StepCase none = {0, 4, 8, 4, 2, 4, false, true, false};
  MambaStepState state = state_of(none, at::kFloat);
  Tensor x = at::zeros({0, 1, 4});
  mamba_step(weights_of(none, at::kFloat), starts_of(none), state, x);
  EXPECT_EQ(x.sizes(), at::IntArrayRef({0, 1, 4}));
}

TEST(MambaStepDeathTest, WrongUseIsAProgrammersError) {
  const StepCase some = {1, 4, 8, 4, 2, 4, true, true, false};
  MambaStepState state = state_of(some, at::kFloat);
  const MambaStepWeights w = weights_of(some, at::kFloat);
  const auto step = [&](const MambaStepWeights& weights, Tensor x) {
    mamba_step(weights, starts_of(some), state, x);
  };
  const Tensor x = at::zeros({1, 1, 4});
  EXPECT_DEATH(step(w, x), "mamba_step has no gradient");
  const at::NoGradGuard no_grad;
  MambaStepWeights wrong = w;
  wrong.x_c = w.x_c.narrow(0, 0, 3);
  EXPECT_DEATH(step(wrong, x), "x_c is .*\\[3, 8\\], expected");
  wrong = w;
  wrong.b_norm = Tensor();
  EXPECT_DEATH(step(wrong, x), "b_norm is undefined");
  wrong = w;
  wrong.dt_norm = Tensor();
  EXPECT_DEATH(step(wrong, x), "dt_norm is undefined");
  wrong = w;
  wrong.out = w.out.t();
  EXPECT_DEATH(step(wrong, x), "out is .*\\[8, 4\\], expected");
  wrong = w;
  wrong.a = w.a.to(at::kDouble);
  EXPECT_DEATH(step(wrong, x), "a is CPUDoubleType");
  EXPECT_DEATH(step(w, x.to(at::kBFloat16)), "x is CPUBFloat16Type");
  EXPECT_DEATH(step(w, at::zeros({1, 2, 4})), "x is .*\\[1, 2, 4\\], expected");
}

}  // namespace
}  // namespace weft
