#pragma once
// What goes from chunk to chunk of the SSD operator (ssd_chunks.h): the state, and its gradient
// back.
//   states [rows, chunks, Hs, P, N]   what each chunk adds; becomes what enters it
//   carry  [rows, chunks, Hs]         the share of the entering state in the leaving one
//   state  [rows, Hs, P, N]           before the first chunk; becomes that after the last
// All are fp32 or all fp64, on one device, and dense but for carry. Other shapes, types and strides
// are a programmer's error.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft::internal {

// Chunk by chunk: states_i, which is added_i, becomes state; state becomes carry_i state + added_i.
void pass_states(const Tensor& states, const Tensor& carry, const Tensor& state,
                 cpu::Isa isa = cpu::best_isa());

// The same from the last chunk to the first, of gradients: states_i becomes the gradient of the
// state that leaves chunk i. Returns carry_i * sum over P and N of it times entering_i, [rows,
// chunks, Hs]; `entering` is what pass_states made of states. Sums do not depend on the number of
// threads.
Tensor pass_state_gradients(const Tensor& states, const Tensor& carry, const Tensor& entering,
                            const Tensor& state, cpu::Isa isa = cpu::best_isa());

// Both in plain operators: for tests and for devices without a kernel.
void pass_states_reference(const Tensor& states, const Tensor& carry, const Tensor& state);
Tensor pass_state_gradients_reference(const Tensor& states, const Tensor& carry,
                                      const Tensor& entering, const Tensor& state);

}  // namespace weft::internal
