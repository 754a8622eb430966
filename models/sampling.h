#pragma once
// The next token as a pure function of its logits and one uniform number.
#include <cstdint>
#include <optional>
#include <span>

#include "base/schema.h"
#include "base/tensor.h"

namespace weft {

struct SamplingConfig {
  double temperature = 1.0;  // 0: the most likely token
  int64_t top_k = 0;         // 0: all
  double top_p = 1.0;        // smallest set of most likely tokens with at least this probability
  double min_p = 0.0;        // of the most likely token's probability; less likely ones are out
  double repetition_penalty = 1.0;  // of tokens that are there already; 1: none
};

// logits [V], or row `row` of [rows, V], fp32 or fp64 on the CPU, u in [0, 1) -> a token id. Tokens
// are ordered by falling logit, ties by rising id; cuts come in the order top_k, top_p
// (arXiv:1904.09751), min_p (arXiv:2407.01082), each over what the one before has left. In fp64.
// repetition_penalty is not looked at. None where the logits are no order of tokens: one is NaN, or
// the largest is infinite.
std::optional<int64_t> sample_token(const Tensor& logits, const SamplingConfig& config, double u,
                                    std::optional<int64_t> row = {});

// Divides the positive logits of `tokens` by `penalty` and multiplies the negative ones, each token
// once (arXiv:1909.05858). logits [V], or row `row` of [rows, V], fp32 or fp64, contiguous, on the
// CPU, changed in place.
void penalize_repetition(Tensor logits, std::span<const int64_t> tokens, double penalty,
                         std::optional<int64_t> row = {});

}  // namespace weft
