#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "models/kernels/ssd_states.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

struct Case {
  int64_t rows, chunks, heads, width, states;
};

// One part of a warp, and several; whole ones and not; one chunk, many, none.
constexpr Case kCases[] = {{1, 1, 1, 1, 1},      {2, 3, 5, 16, 8},  {3, 7, 5, 3, 43},
                           {2, 16, 24, 64, 128}, {2, 3, 4, 59, 17}, {2, 0, 3, 4, 5},
                           {0, 2, 3, 4, 5},      {2, 2, 3, 4, 0}};

struct Inputs {
  Tensor added, carry, state, entering;
};

Inputs inputs_of(const Case& c, at::ScalarType type) {
  return {fill({c.rows, c.chunks, c.heads, c.width, c.states}, 0.3, 2).to(type),
          fill({c.rows, c.chunks, c.heads, 3}, 1.1, 0.5, 0.5).to(type).select(-1, 2),
          fill({c.rows, c.heads, c.width, c.states}, 2.3, 1.5).to(type),
          fill({c.rows, c.chunks, c.heads, c.width, c.states}, 0.9, 1, 0.25).to(type)};
}

struct Results {
  Tensor states, state, through;
};

Results forward_on(at::Device device, const Inputs& in) {
  Results r{in.added.to(device, /*non_blocking=*/false, /*copy=*/true),
            in.state.to(device, false, true),
            {}};
  internal::pass_states(r.states, in.carry.to(device), r.state);
  return r;
}

Results backward_on(at::Device device, const Inputs& in) {
  Results r{in.added.to(device, /*non_blocking=*/false, /*copy=*/true),
            in.state.to(device, false, true),
            {}};
  r.through = internal::pass_state_gradients(r.states, in.carry.to(device), in.entering.to(device),
                                             r.state);
  return r;
}

Inputs in_double(const Inputs& in) {
  const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
  return {wide(in.added), wide(in.carry), wide(in.state), wide(in.entering)};
}

TEST(SsdStatesCuda, AreAsExactAsTheirCpuTwins) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const Case& c : kCases) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      const Inputs in = inputs_of(c, type), wide = in_double(in);
      const Results true_there = forward_on(at::kCPU, wide),
                    true_back = backward_on(at::kCPU, wide);
      const Results cpu_there = forward_on(at::kCPU, in), cpu_back = backward_on(at::kCPU, in);
      const Results there = forward_on(at::kCUDA, in), back = backward_on(at::kCUDA, in);
      const auto expect_close = [&](const Tensor& ours, const Tensor& twin, const Tensor& truth) {
        ASSERT_TRUE(ours.is_cuda());
        ASSERT_EQ(ours.sizes(), truth.sizes());
        // At each of at most some thousand additions fp64 rounds by 1e-16, and fp32 by 6e-8, less
        // what cancels.
        const double slack = type == at::kDouble ? 1e-12 : 1e-6;
        EXPECT_LE(max_difference(ours, truth),
                  2 * max_difference(twin, truth) + slack * max_magnitude(truth));
      };
      expect_close(there.states, cpu_there.states, true_there.states);
      expect_close(there.state, cpu_there.state, true_there.state);
      expect_close(back.states, cpu_back.states, true_back.states);
      expect_close(back.state, cpu_back.state, true_back.state);
      expect_close(back.through, cpu_back.through, true_back.through);
    }
  }
}

TEST(SsdStatesCuda, ReadStridedCarries) {
  WEFT_NEEDS_CUDA_DEVICE();
  const Inputs in = inputs_of({2, 5, 3, 7, 40}, at::kFloat);
  const Tensor strided = fill({2, 5, 3, 3}, 1.1, 0.5, 0.5).to(at::kCUDA, at::kFloat).select(-1, 2);
  Tensor states = in.added.to(at::kCUDA), state = in.state.to(at::kCUDA);
  internal::pass_states(states, strided, state);
  const Results dense = forward_on(at::kCUDA, in);
  EXPECT_TRUE(states.equal(dense.states));
  EXPECT_TRUE(state.equal(dense.state));
}

TEST(SsdStatesCuda, AreTheSameBitsEachTime) {
  WEFT_NEEDS_CUDA_DEVICE();
  const Inputs in = inputs_of({2, 16, 24, 64, 128}, at::kFloat);
  const Results first = backward_on(at::kCUDA, in), second = backward_on(at::kCUDA, in);
  EXPECT_TRUE(first.states.equal(second.states));
  EXPECT_TRUE(first.state.equal(second.state));
  EXPECT_TRUE(first.through.equal(second.through));
}

}  // namespace
}  // namespace weft
