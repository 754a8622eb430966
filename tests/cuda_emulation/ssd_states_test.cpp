#include "models/kernels/ssd_states.h"

#include <ATen/TensorOperators.h>

#include "models/kernels/cuda/ssd_states.h"
#include "models/kernels/dispatch.h"
#include "tests/cuda_emulation/results.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

struct Case {
  int64_t rows, chunks, heads, width, states;
};

// One part of a warp, and several; whole ones and not; one chunk, many, none.
constexpr Case kCases[] = {{1, 1, 1, 1, 1},   {2, 3, 5, 16, 8}, {3, 7, 5, 3, 43}, {1, 4, 9, 16, 64},
                           {2, 3, 4, 59, 17}, {2, 0, 3, 4, 5},  {0, 2, 3, 4, 5},  {2, 2, 3, 4, 0}};

// carry has gaps.
struct Inputs {
  Tensor added, carry, state, entering;
};

Inputs inputs_of(const Case& c, at::ScalarType type) {
  return {fill({c.rows, c.chunks, c.heads, c.width, c.states}, 0.3, 2).to(type),
          fill({c.rows, c.chunks, c.heads, 3}, 1.1, 0.5, 0.5).to(type).select(-1, 2),
          fill({c.rows, c.heads, c.width, c.states}, 2.3, 1.5).to(type),
          fill({c.rows, c.chunks, c.heads, c.width, c.states}, 0.9, 1, 0.25).to(type)};
}

Inputs in_double(const Inputs& in) {
  const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
  return {wide(in.added), wide(in.carry), wide(in.state), wide(in.entering)};
}

// States and state of the forward pass, then of the backward pass, and `through`.
std::vector<Tensor> on_cpu(const Inputs& in) {
  const Tensor states = in.added.clone(), state = in.state.clone();
  const Tensor back_states = in.added.clone(), back_state = in.state.clone();
  internal::pass_states(states, in.carry, state);
  const Tensor through =
      internal::pass_state_gradients(back_states, in.carry, in.entering, back_state);
  return {states, state, back_states, back_state, through};
}

template <class C>
SsdStates<C> raw(const Inputs& in, const Tensor& states, const Tensor& state) {
  return {.rows = states.size(0),
          .chunks = states.size(1),
          .heads = states.size(2),
          .size = states.size(3) * states.size(4),
          .carry = values<const C>(in.carry),
          .carry_row = in.carry.stride(0),
          .carry_chunk = in.carry.stride(1),
          .carry_head = in.carry.stride(2),
          .states = values<C>(states),
          .state = values<C>(state)};
}

template <class C>
std::vector<Tensor> emulated(const Inputs& in) {
  return in_both_orders([&]() -> std::vector<Tensor> {
    const Tensor states = in.added.clone(), state = in.state.clone();
    const Tensor back_states = in.added.clone(), back_state = in.state.clone();
    cuda::pass_states(raw<C>(in, states, state), nullptr);
    const SsdStates<C> of = raw<C>(in, back_states, back_state);
    const Tensor through = blank({cuda::count_state_parts(of.size), of.rows, of.chunks, of.heads},
                                 in.added.scalar_type());
    cuda::pass_state_gradients(
        SsdStateGradients<C>{of, values<const C>(in.entering), values<C>(through)}, nullptr);
    return {states, state, back_states, back_state, through.sum(0)};
  });
}

TEST(SsdStatesEmulated, AreAsExactAsTheirCpuTwins) {
  for (const Case& c : kCases) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      SCOPED_TRACE(testing::Message() << c.rows << "x" << c.chunks << "x" << c.heads << "x"
                                      << c.width << "x" << c.states << " " << type);
      const Inputs in = inputs_of(c, type);
      expect_all_as_exact(type == at::kDouble ? emulated<double>(in) : emulated<float>(in),
                          on_cpu(in), on_cpu(in_double(in)));
    }
  }
}

}  // namespace
}  // namespace weft
