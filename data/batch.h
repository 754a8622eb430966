#pragma once
// What the model trains on: token ids with their targets and documents. Read first in this folder;
// then loader.h (step -> Batch), shards.h (tokens on disk) and tokenizers/tokenizer.h.
#include "base/tensor.h"

namespace weft {

inline constexpr int64_t kIgnoredTarget = -100;

// Rows of one or more packed documents, on the CPU. A token attends, and a state-space layer
// carries state, only inside its document of its row.
struct Batch {
  Tensor tokens;     // [Bz, T] int64
  Tensor targets;    // [Bz, T] int64, kIgnoredTarget where there is none
  Tensor documents;  // [Bz, T] int32, rises by 1 at each document's first token in the row, from 0
  Tensor positions;  // [Bz, T] int64, token index inside its document's part of the row, from 0
  int64_t num_targets = 0;  // targets that are not ignored
};

}  // namespace weft
