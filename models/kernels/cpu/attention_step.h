#pragma once
// Raw CPU kernel of models/kernels/attention_step.h. The slots of a (row, key/value head) are cut
// into parts of kSlotsPerPart, each of which is one task: a softmax of its own. The parts are put
// together in order, so results don't depend on the number of threads.
#include "models/kernels/cpu/isa.h"
#include "models/kernels/raw.h"

namespace weft::cpu {

inline constexpr int64_t kSlotsPerPart = 512;

template <class S>
struct AttentionStepRaw {
  int64_t rows, heads, kv_heads, width, slots;
  const S *q, *k, *v;    // [rows, heads, width], [rows, kv_heads, width] twice, dense
  const S *cos, *sin;    // [rows, width] dense, or null: nothing is rotated
  S *k_cache, *v_cache;  // [rows, kv_heads, slots, width], strides as follows, dense at the end
  int64_t cache_row_stride, cache_head_stride;
  const int64_t* lengths;  // [rows] tokens before the new one
  S* y;                    // [rows, heads, width] dense
};

// What each part leaves of the softmax over its slots, for the heads of a group: the largest score,
// the sum of exponentials, and their sum with the values.
template <class C>
struct AttentionParts {
  C *largest, *sum;  // [rows, parts, heads]
  C* y;              // [rows, parts, heads, width]
  int64_t parts;     // of a row
};

template <class S>
void attention_step(const AttentionStepRaw<S>& step, Isa isa);

// Part `part` of key/value head `head` of a row, and y of a row whose parts are done; as compiled
// for each instruction set. `workspace`: aligned to 64, (2 width + kSlotsPerPart) numbers of
// Compute<S> and three lines.
#define WEFT_DECLARE_ATTENTION_STEP(ISA)                                                       \
  namespace ISA {                                                                              \
  template <class S>                                                                           \
  void attention_step_part(const AttentionStepRaw<S>& step,                                    \
                           const AttentionParts<Compute<S>>& parts, int64_t row, int64_t head, \
                           int64_t part, void* workspace);                                     \
  template <class S>                                                                           \
  void attention_step_join(const AttentionStepRaw<S>& step,                                    \
                           const AttentionParts<Compute<S>>& parts, int64_t row);              \
  }
WEFT_FOR_EACH_ISA(WEFT_DECLARE_ATTENTION_STEP)
#undef WEFT_DECLARE_ATTENTION_STEP

}  // namespace weft::cpu
