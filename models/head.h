#pragma once
// From hidden states to the loss (spec/models.md 4).
#include "base/tensor.h"

namespace weft {

// hidden [Bz, T, d], weight [V, d] -> logits [Bz, T, V] in fp32 (fp64). In bf16 the product is
// rounded to bf16 once.
Tensor head_logits(const Tensor& hidden, const Tensor& weight);

// Negative log-likelihood of each target in nats: logits [.., V], targets [..] int64 -> [..], 0
// where a target is negative (ignored).
Tensor token_nll(const Tensor& logits, const Tensor& targets);

}  // namespace weft
