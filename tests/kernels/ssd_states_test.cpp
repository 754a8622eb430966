#include "models/kernels/ssd_states.h"

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/kernels/isas.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

struct Case {
  int64_t rows, chunks, heads, width, states;
};

constexpr Case kCases[] = {{1, 1, 1, 1, 1},    {2, 1, 3, 5, 7},   {3, 7, 5, 3, 11},
                           {1, 6, 2, 64, 128}, {2, 3, 4, 59, 17}, {1, 40, 1, 33, 31}};

// Carries are strided, as those of ssd_chunks.cpp: the last of each chunk's tokens.
struct Inputs {
  Tensor added, carry, state, entering;
};

Inputs inputs_of(const Case& c, at::ScalarType type) {
  const auto of = [&](std::vector<int64_t> sizes, double phi, double a, double middle = 0) {
    return fill(std::move(sizes), phi, a, middle).to(type);
  };
  return {of({c.rows, c.chunks, c.heads, c.width, c.states}, 0.3, 2),
          of({c.rows, c.chunks, c.heads, 3}, 1.1, 0.5, 0.5).select(-1, 2),
          of({c.rows, c.heads, c.width, c.states}, 2.3, 1.5),
          of({c.rows, c.chunks, c.heads, c.width, c.states}, 0.9, 1, 0.25)};
}

struct Results {
  Tensor states, state, through;
};

// What the operator of ssd_chunks.cpp is made of, without a tensor written twice.
Tensor after(const Tensor& state, const Inputs& in, int64_t chunk) {
  return in.carry.select(1, chunk).unsqueeze(-1).unsqueeze(-1) * state + in.added.select(1, chunk);
}

Results plain_forward(const Inputs& in) {
  std::vector<Tensor> entering;
  Tensor state = in.state;
  for (int64_t i = 0; i < in.added.size(1); ++i) {
    entering.push_back(state);
    state = after(state, in, i);
  }
  return {at::stack(entering, 1), state, {}};
}

Results plain_backward(const Inputs& in) {
  std::vector<Tensor> leaving(in.added.size(1));
  Tensor state = in.state;
  for (int64_t i = in.added.size(1) - 1; i >= 0; --i) {
    leaving[i] = state;
    state = after(state, in, i);
  }
  const Tensor states = at::stack(leaving, 1);
  return {states, state, (states * in.entering).sum(at::IntArrayRef{-1, -2}) * in.carry};
}

template <class Pass>
Results forward_by(const Pass& pass, const Inputs& in) {
  Results r{in.added.clone(), in.state.clone(), {}};
  pass(r.states, in.carry, r.state);
  return r;
}

template <class Pass>
Results backward_by(const Pass& pass, const Inputs& in) {
  Results r{in.added.clone(), in.state.clone(), {}};
  r.through = pass(r.states, in.carry, in.entering, r.state);
  return r;
}

Results our_forward(const Inputs& in, cpu::Isa isa = cpu::best_isa()) {
  return forward_by([&](const auto&... t) { internal::pass_states(t..., isa); }, in);
}

Results our_backward(const Inputs& in, cpu::Isa isa = cpu::best_isa()) {
  return backward_by([&](const auto&... t) { return internal::pass_state_gradients(t..., isa); },
                     in);
}

Inputs in_double(const Inputs& in) {
  const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
  return {wide(in.added), wide(in.carry), wide(in.state), wide(in.entering)};
}

void expect_close(const Tensor& ours, const Tensor& truth) {
  // Rounding of 1e-16 at each of at most some thousand additions.
  EXPECT_LE(max_difference(ours, truth), 1e-12 * max_magnitude(truth));
}

TEST(SsdStates, EqualPlainOperatorsInDouble) {
  for (const Case& c : kCases) {
    const Inputs in = inputs_of(c, at::kDouble);
    const Results forward = plain_forward(in), backward = plain_backward(in);
    for (const cpu::Isa isa : supported_isas()) {
      const Results there = our_forward(in, isa), back = our_backward(in, isa);
      expect_close(there.states, forward.states);
      expect_close(there.state, forward.state);
      expect_close(back.states, backward.states);
      expect_close(back.state, backward.state);
      expect_close(back.through, backward.through);
    }
  }
}

TEST(SsdStates, AreAsExactAsPlainOperators) {
  for (const Case& c : kCases) {
    const Inputs in = inputs_of(c, at::kFloat), wide = in_double(in);
    const Results true_forward = plain_forward(wide), plain_there = plain_forward(in);
    const Results true_backward = plain_backward(wide), plain_back = plain_backward(in);
    for (const cpu::Isa isa : supported_isas()) {
      const Results there = our_forward(in, isa), back = our_backward(in, isa);
      expect_as_exact(there.states, plain_there.states, true_forward.states);
      expect_as_exact(there.state, plain_there.state, true_forward.state);
      expect_as_exact(back.states, plain_back.states, true_backward.states);
      expect_as_exact(back.state, plain_back.state, true_backward.state);
      expect_as_exact(back.through, plain_back.through, true_backward.through);
    }
  }
}

TEST(SsdStates, GoOnFromWhatACallLeft) {
  const Inputs in = inputs_of({2, 5, 3, 4, 9}, at::kFloat);
  const Results whole = our_forward(in);
  const auto chunks = [&](int64_t first, int64_t count, const Tensor& state) {
    return our_forward({in.added.narrow(1, first, count).contiguous(),
                        in.carry.narrow(1, first, count),
                        state,
                        {}});
  };
  const Results head = chunks(0, 2, in.state), tail = chunks(2, 3, head.state);
  EXPECT_TRUE(head.states.equal(whole.states.narrow(1, 0, 2)));
  EXPECT_TRUE(tail.states.equal(whole.states.narrow(1, 2, 3)));
  EXPECT_TRUE(tail.state.equal(whole.state));
}

TEST(SsdStates, AreTheSameBitsForAnyNumberOfThreads) {
  const Inputs in = inputs_of({2, 3, 4, 64, 33}, at::kFloat);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Results alone = our_backward(in);
  at::set_num_threads(2);
  const Results together = our_backward(in);
  at::set_num_threads(threads);
  EXPECT_TRUE(alone.states.equal(together.states));
  EXPECT_TRUE(alone.state.equal(together.state));
  EXPECT_TRUE(alone.through.equal(together.through));
}

TEST(SsdStates, MayBeEmpty) {
  for (const Case& c :
       {Case{0, 2, 3, 4, 5}, Case{2, 0, 3, 4, 5}, Case{2, 2, 0, 4, 5}, Case{2, 2, 3, 4, 0}}) {
    const Inputs in = inputs_of(c, at::kFloat);
    const Results there = our_forward(in), back = our_backward(in);
    EXPECT_TRUE(there.state.equal(in.state));
    EXPECT_TRUE(back.state.equal(in.state));
    EXPECT_TRUE(back.through.equal(at::zeros(in.carry.sizes(), at::kFloat)));
  }
}

TEST(SsdStates, HaveAReferenceInPlainOperators) {
  for (const Case& c : kCases) {
    const Inputs in = inputs_of(c, at::kDouble);
    const Results there = forward_by(internal::pass_states_reference, in);
    const Results back = backward_by(internal::pass_state_gradients_reference, in);
    const Results forward = plain_forward(in), backward = plain_backward(in);
    expect_close(there.states, forward.states);
    expect_close(there.state, forward.state);
    expect_close(back.states, backward.states);
    expect_close(back.state, backward.state);
    expect_close(back.through, backward.through);
  }
}

TEST(SsdStatesDeathTest, RefuseOtherShapesTypesAndStrides) {
  const Inputs in = inputs_of({2, 3, 4, 5, 6}, at::kFloat);
  const auto pass = [](const Tensor& added, const Tensor& carry, const Tensor& state) {
    internal::pass_states(added, carry, state);
  };
  EXPECT_DEATH(pass(in.added, in.carry.select(0, 0), in.state), "carry CPUFloatType \\[3, 4\\]");
  EXPECT_DEATH(pass(in.added, in.carry, in.state.narrow(2, 0, 4)), "state .* \\[2, 4, 4, 6\\]");
  EXPECT_DEATH(pass(in.added.transpose(3, 4), in.carry, in.state.transpose(2, 3)), "dense states");
  EXPECT_DEATH(pass(in.added, in.carry.to(at::kDouble), in.state), "carry CPUDoubleType");
  EXPECT_DEATH(
      pass(in.added.to(at::kBFloat16), in.carry.to(at::kBFloat16), in.state.to(at::kBFloat16)),
      "states CPUBFloat16Type");
  EXPECT_DEATH(
      internal::pass_state_gradients(in.added, in.carry, in.entering.narrow(1, 0, 2), in.state),
      "entering CPUFloatType \\[2, 2, 4, 5, 6\\]");
}

}  // namespace
}  // namespace weft
