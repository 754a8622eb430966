// One token through a Mamba-1 mixer's inside, against the kernels of its parts, which have tests of
// their own.
#include "models/kernels/mamba_step.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/causal_conv.h"
#include "models/kernels/rms_norm.h"
#include "models/kernels/row_linear.h"
#include "models/kernels/selective_scan.h"
#include "tests/kernels/isas.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

struct StepCase {
  int64_t batch, channels, taps, rank, states;
  bool norms, conv_bias;
};

struct State {
  Tensor window, h;
};

Tensor values_of(at::IntArrayRef sizes, double seed, at::ScalarType type) {
  return fill(sizes.vec(), seed).to(type);
}

MambaStepInputs inputs_of(const StepCase& c, at::ScalarType storage) {
  const at::ScalarType wide = storage == at::kDouble ? at::kDouble : at::kFloat;
  MambaStepInputs in{.x = values_of({c.batch, 1, c.channels}, 1, storage),
                     .z = values_of({c.batch, 1, c.channels}, 2, storage),
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
                     .starts = at::zeros({c.batch, 1}, at::kBool)};
  if (c.conv_bias) in.conv_bias = values_of({c.channels}, 11, wide);
  if (c.norms) {
    in.dt_norm = values_of({c.rank}, 12, wide) + 1;
    in.b_norm = values_of({c.states}, 13, wide) + 1;
    in.c_norm = values_of({c.states}, 14, wide) + 1;
  }
  if (c.batch > 1) in.starts[1].fill_(true);
  return in;
}

State state_of(const StepCase& c, at::ScalarType storage) {
  const at::ScalarType wide = storage == at::kDouble ? at::kDouble : at::kFloat;
  return {values_of({c.batch, c.taps - 1, c.channels}, 15, storage),
          values_of({c.batch, c.channels, c.states}, 16, wide)};
}

// The same from the parts' own functions.
Tensor step_by_parts(const MambaStepInputs& in, State& state, cpu::Isa isa) {
  const Tensor x =
      causal_conv_silu_with_state(in.x, in.conv_weight, in.conv_bias, in.starts, state.window, isa);
  const std::vector<RowLinearLayer> layers = {{in.x_dt, {}}, {in.x_b, {}}, {in.x_c, {}}};
  std::vector<Tensor> dbc = row_linear(x, layers, isa);
  if (in.dt_norm.defined()) {
    dbc[0] = rms_norm(dbc[0], in.dt_norm, in.norm_eps);
    dbc[1] = rms_norm(dbc[1], in.b_norm, in.norm_eps);
    dbc[2] = rms_norm(dbc[2], in.c_norm, in.norm_eps);
  }
  const SelectiveScanInputs scan{.x = x,
                                 .dt = row_linear(dbc[0], in.dt, {}, isa),
                                 .b = dbc[1],
                                 .c = dbc[2],
                                 .z = in.z,
                                 .a_log = (-in.a).log(),
                                 .d = in.d,
                                 .dt_bias = in.dt_bias,
                                 .starts = in.starts,
                                 .initial_state = state.h,
                                 .a = in.a};
  return selective_scan_with_state(scan, state.h, isa).y;
}

class MambaStepSizes : public testing::TestWithParam<StepCase> {};

// Three tokens in a row, bit for bit, in y, window and state.
TEST_P(MambaStepSizes, EqualsItsPartsForAnyNumberOfThreads) {
  const at::NoGradGuard no_grad;
  const int threads = at::get_num_threads();
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const MambaStepInputs in = inputs_of(GetParam(), type);
    for (const cpu::Isa isa : supported_isas()) {
      for (const int count : {1, 2, 5}) {
        at::set_num_threads(count);
        State ours = state_of(GetParam(), type), parts = state_of(GetParam(), type);
        for (int token = 0; token < 3; ++token) {
          const Tensor y = mamba_step(in, ours.window, ours.h, isa);
          EXPECT_TRUE(y.equal(step_by_parts(in, parts, isa))) << toString(type) << count << token;
          EXPECT_TRUE(ours.window.equal(parts.window)) << toString(type) << count << token;
          EXPECT_TRUE(ours.h.equal(parts.h)) << toString(type) << count << token;
        }
        EXPECT_GT(ours.h.abs().sum().item<double>(), 0.0);
      }
    }
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Some, MambaStepSizes,
                         testing::Values(StepCase{1, 1536, 4, 48, 16, false, true},
                                         StepCase{1, 1024, 4, 32, 16, true, true},
                                         StepCase{3, 300, 4, 19, 16, true, false},
                                         StepCase{1, 128, 4, 512, 16, true, true},
                                         StepCase{2, 1, 2, 1, 1, true, true},
                                         StepCase{8, 257, 3, 5, 17, false, false},
                                         StepCase{1, 700, 1, 130, 3, false, true}));

TEST(MambaStep, NothingForAnEmptyBatch) {
  const at::NoGradGuard no_grad;
  const StepCase none = {0, 8, 4, 2, 4, false, true};
  State state = state_of(none, at::kFloat);
  EXPECT_EQ(mamba_step(inputs_of(none, at::kFloat), state.window, state.h).sizes(),
            at::IntArrayRef({0, 1, 8}));
}

TEST(MambaStepDeathTest, WrongUseIsAProgrammersError) {
  const StepCase some = {1, 8, 4, 2, 4, true, true};
  State state = state_of(some, at::kFloat);
  const MambaStepInputs in = inputs_of(some, at::kFloat);
  EXPECT_DEATH(mamba_step(in, state.window, state.h), "mamba_step has no gradient");
  const at::NoGradGuard no_grad;
  MambaStepInputs wrong = in;
  wrong.x_c = in.x_c.narrow(0, 0, 3);
  EXPECT_DEATH(mamba_step(wrong, state.window, state.h), "x_c is .*\\[3, 8\\], expected");
  wrong = in;
  wrong.b_norm = Tensor();
  EXPECT_DEATH(mamba_step(wrong, state.window, state.h), "b_norm is undefined");
  wrong = in;
  wrong.dt_norm = Tensor();
  EXPECT_DEATH(mamba_step(wrong, state.window, state.h), "dt_norm is undefined");
  wrong = in;
  wrong.a = in.a.to(at::kDouble);
  EXPECT_DEATH(mamba_step(wrong, state.window, state.h), "a is CPUDoubleType");
}

}  // namespace
}  // namespace weft
