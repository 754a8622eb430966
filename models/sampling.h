#pragma once
// The next token as a pure function of its logits and one uniform number.
#include <cstdint>

#include "base/schema.h"
#include "base/tensor.h"

namespace weft {

struct SamplingConfig {
  double temperature = 1.0;  // 0: the most likely token
  int64_t top_k = 0;         // 0: all
  double top_p = 1.0;        // smallest set of most likely tokens with at least this probability
};

// logits [V] on the CPU, u in [0, 1) -> a token id. Tokens are ordered by falling logit, ties by
// rising id; the cut by top_k comes before that by top_p (arXiv:1904.09751). In fp64.
int64_t sample_token(const Tensor& logits, const SamplingConfig& config, double u);

}  // namespace weft
