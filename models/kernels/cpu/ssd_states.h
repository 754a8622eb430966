#pragma once
// Raw CPU kernels of models/kernels/ssd_states.h.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/ssd_states_raw.h"

namespace weft::cpu {

// All chunks of one head of one row; as compiled for each instruction set.
#define WEFT_DECLARE_SSD_STATES(ISA)                                                       \
  namespace ISA {                                                                          \
  template <class C>                                                                       \
  void pass_states(const SsdStates<C>& of, int64_t row, int64_t head);                     \
  template <class C>                                                                       \
  void pass_state_gradients(const SsdStateGradients<C>& grads, int64_t row, int64_t head); \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_SSD_STATES)
#undef WEFT_DECLARE_SSD_STATES

}  // namespace weft::cpu
