#pragma once
// Loss of a model over held-out text: every byte is a target exactly once.
#include <functional>

#include "base/schema.h"
#include "data/evaluation.h"
#include "data/shards.h"
#include "models/causal_lm.h"

namespace weft {

struct Evaluation {
  double nll_sum = 0;  // nats
  int64_t targets = 0;
  int64_t text_bytes = 0;  // of the text that was evaluated

  double loss() const { return targets > 0 ? nll_sum / static_cast<double>(targets) : 0; }
  double perplexity() const;
  // nll_sum / ln 2 / text_bytes (design.md, "Numbers").
  double bits_per_byte() const;
};

struct EvaluationOptions {
  int64_t sequence_length = 1024;
  int64_t context = 0;  // tokens of each window that only give context
  OrAll<int64_t> max_tokens = {};
  int64_t rows = 8;  // windows of one forward pass
  at::Device device = at::kCPU;
  // Called after each forward pass with rows done and in all; returning false ends the evaluation.
  std::function<bool(int64_t done, int64_t total)> progress = {};
};

Evaluation evaluate(const CausalLM& model, const TokenShards& shards,
                    const EvaluationOptions& options);

}  // namespace weft
