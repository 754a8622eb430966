#pragma once
// Arguments of the raw kernels of models/kernels/ssd_states.h: plain data for the CPU and CUDA
// versions. C is float or double.
#include "models/kernels/raw.h"

namespace weft {

// Dense but for carry; size = P N.
template <class C>
struct SsdStates {
  int64_t rows, chunks, heads, size;
  // Of chunk i of row r in head h: carry[r * carry_row + i * carry_chunk + h * carry_head].
  const C* carry;
  int64_t carry_row, carry_chunk, carry_head;
  C* states;  // [rows, chunks, heads, size]: what the chunks add becomes what enters them
  C* state;   // [rows, heads, size]: before the first chunk; becomes that after the last
};

// The same from the last chunk to the first, of the gradients.
template <class C>
struct SsdStateGradients {
  SsdStates<C> of;
  const C* entering;  // [rows, chunks, heads, size]: the states that entered the chunks
  C* through;         // [rows, chunks, heads]: carry * sum of products with `entering`
};

}  // namespace weft
