#include "models/kernels/ssd_states.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/ssd_states.h"
#include "models/kernels/cuda/ssd_states.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"
#include "models/kernels/partials.h"

namespace weft::internal {
namespace {

void check(const Tensor& states, const Tensor& carry, const Tensor& state) {
  const at::ScalarType type = states.scalar_type();
  const auto fits = [&](const Tensor& t) {
    return t.scalar_type() == type && t.device() == states.device();
  };
  WEFT_CHECK(
      (type == at::kFloat || type == at::kDouble) && states.dim() == 5 && states.is_contiguous() &&
          state.dim() == 4 && state.is_contiguous() && state.size(0) == states.size(0) &&
          state.sizes().slice(1) == states.sizes().slice(2) &&
          carry.sizes() == states.sizes().slice(0, 3) && fits(carry) && fits(state),
      "pass_states of dense states ", states.toString(), " ", states.sizes(), ", carry ",
      carry.toString(), " ", carry.sizes(), ", state ", state.toString(), " ", state.sizes());
}

template <class C>
SsdStates<C> raw_states(const Tensor& states, const Tensor& carry, const Tensor& state) {
  return {.rows = states.size(0),
          .chunks = states.size(1),
          .heads = states.size(2),
          .size = states.size(3) * states.size(4),
          .carry = values<const C>(carry),
          .carry_row = carry.stride(0),
          .carry_chunk = carry.stride(1),
          .carry_head = carry.stride(2),
          .states = values<C>(states),
          .state = values<C>(state)};
}

// f(C{}) for the type of t.
template <class F>
void with_type(const Tensor& t, const F& f) {
  t.scalar_type() == at::kDouble ? f(double{}) : f(float{});
}

// f(row, head) for all of them on LibTorch's threads.
template <class C, class F>
void for_heads(const SsdStates<C>& of, const F& f) {
  constexpr int64_t kNumbersPerThread = 16 << 10;  // some 10 us
  at::parallel_for(0, of.rows * of.heads, kNumbersPerThread / (of.chunks * of.size + 1) + 1,
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) f(i / of.heads, i % of.heads);
                   });
}

// One chunk in plain operators.
void step(const Tensor& states, const Tensor& carry, const Tensor& state, int64_t chunk) {
  const Tensor here = states.select(1, chunk), added = here.clone();
  here.copy_(state);
  state.mul_(carry.select(1, chunk).unsqueeze(-1).unsqueeze(-1)).add_(added);
}

}  // namespace

void pass_states_reference(const Tensor& states, const Tensor& carry, const Tensor& state) {
  for (int64_t i = 0; i < states.size(1); ++i) step(states, carry, state, i);
}

Tensor pass_state_gradients_reference(const Tensor& states, const Tensor& carry,
                                      const Tensor& entering, const Tensor& state) {
  for (int64_t i = states.size(1) - 1; i >= 0; --i) step(states, carry, state, i);
  return (states * entering).sum(at::IntArrayRef{-1, -2}).mul_(carry);
}

void pass_states(const Tensor& states, const Tensor& carry, const Tensor& state, cpu::Isa isa) {
  check(states, carry, state);
  if (!has_kernels_for(states)) return pass_states_reference(states, carry, state);
  const ProfileSpan span("weft::pass_states", WorkKind::kScan,
                         moving({states, states, state, state}));
  with_type(states, [&](auto type) {
    using C = decltype(type);
    const auto of = raw_states<C>(states, carry, state);
    on_device(
        "pass_states", states, [&](auto stream) { cuda::pass_states<C>(of, stream); },
        [&] {
          const auto pass = WEFT_KERNEL_FOR(isa, pass_states<C>);
          for_heads(of, [&](int64_t row, int64_t head) { pass(of, row, head); });
        });
  });
}

Tensor pass_state_gradients(const Tensor& states, const Tensor& carry, const Tensor& entering,
                            const Tensor& state, cpu::Isa isa) {
  check(states, carry, state);
  WEFT_CHECK(entering.sizes() == states.sizes() && entering.is_contiguous() &&
                 entering.scalar_type() == states.scalar_type() &&
                 entering.device() == states.device(),
             "pass_state_gradients of states ", states.toString(), " ", states.sizes(),
             ", dense entering ", entering.toString(), " ", entering.sizes());
  if (!has_kernels_for(states)) {
    return pass_state_gradients_reference(states, carry, entering, state);
  }
  Tensor through = at::empty(carry.sizes(), carry.options());
  const ProfileSpan span("weft::pass_state_gradients", WorkKind::kScan,
                         moving({states, states, entering, state, state}));
  with_type(states, [&](auto type) {
    using C = decltype(type);
    SsdStateGradients<C> gradients{raw_states<C>(states, carry, state), values<const C>(entering),
                                   values<C>(through)};
    on_device(
        "pass_state_gradients", states,
        [&](auto stream) {
          const int64_t count = cuda::count_state_parts(gradients.of.size);
          const Tensor parts = at::empty({count, through.numel()}, through.options());
          gradients.through = values<C>(parts);
          cuda::pass_state_gradients<C>(gradients, stream);
          through = sum_partials(parts, through);
        },
        [&] {
          const auto pass = WEFT_KERNEL_FOR(isa, pass_state_gradients<C>);
          for_heads(gradients.of, [&](int64_t row, int64_t head) { pass(gradients, row, head); });
        });
  });
  return through;
}

}  // namespace weft::internal
