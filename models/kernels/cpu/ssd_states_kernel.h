#pragma once
// The state of a head, some 32 KB, from chunk to chunk; bound by reading and writing what the
// chunks add. Included as cpu/vector.h is.
#include "models/kernels/cpu/ssd_states.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

template <class C>
inline int64_t state_offset(const SsdStates<C>& of, int64_t row, int64_t chunk, int64_t head) {
  return ((row * of.chunks + chunk) * of.heads + head) * of.size;
}
template <class C>
inline C carry_of(const SsdStates<C>& of, int64_t row, int64_t chunk, int64_t head) {
  return of.carry[row * of.carry_row + chunk * of.carry_chunk + head * of.carry_head];
}

// Numbers j .. j + count - 1 of a chunk: returns those that `states` got.
template <class C>
inline Vec<C> pass_vector(C* states, C* state, C carry, int64_t j, int count) {
  const Vec<C> before = load(state + j, count), added = load(states + j, count);
  store(states + j, before, count);
  store(state + j, carry * before + added, count);
  return before;
}

template <class C>
void pass_states(const SsdStates<C>& of, int64_t row, int64_t head) {
  C* const state = of.state + (row * of.heads + head) * of.size;
  for (int64_t i = 0; i < of.chunks; ++i) {
    C* const states = of.states + state_offset(of, row, i, head);
    const C carry = carry_of(of, row, i, head);
    for_each_vector<C>(
        0, of.size, [&](int64_t j, int count) { pass_vector<C>(states, state, carry, j, count); });
  }
}

template <class C>
void pass_state_gradients(const SsdStateGradients<C>& grads, int64_t row, int64_t head) {
  constexpr int64_t kSummed = 1024;  // numbers: sums of so many are added up, which rounds less
  const SsdStates<C>& of = grads.of;
  C* const state = of.state + (row * of.heads + head) * of.size;
  for (int64_t i = of.chunks - 1; i >= 0; --i) {
    const int64_t offset = state_offset(of, row, i, head);
    C* const states = of.states + offset;
    const C* const entering = grads.entering + offset;
    const C carry = carry_of(of, row, i, head);
    Vec<C> total = {};
    for (int64_t begin = 0; begin < of.size; begin += kSummed) {
      const int64_t end = begin + kSummed < of.size ? begin + kSummed : of.size;
      Vec<C> sum = {};
      for_each_vector<C>(begin, end, [&](int64_t j, int count) {
        sum += pass_vector<C>(states, state, carry, j, count) * load(entering + j, count);
      });
      total += sum;
    }
    grads.through[(row * of.chunks + i) * of.heads + head] =
        carry * static_cast<C>(sum_of_lanes<C>(total));
  }
}

}  // namespace weft::cpu::WEFT_ISA
