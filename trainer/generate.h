#pragma once
// Tokens that follow prompts, one at a time, with the state of all tokens before kept.
#include <cstdint>
#include <functional>
#include <vector>

#include "models/causal_lm.h"
#include "models/sampling.h"

namespace weft {

struct GenerationOptions {
  SamplingConfig sampling = {};
  uint64_t seed = 1;
  int64_t max_tokens = 256;
  // The model sees at most this many tokens. Where there are more, it starts anew from the last
  // half of them: a state cannot forget its first tokens.
  int64_t window = 1024;
  int64_t end_token = -1;  // a prompt's generation ends when it is drawn; -1: never
  int64_t batch = 8;       // prompts at once
  at::Device device = at::kCPU;
  // Called with each new token of prompt `index`; returning false ends that prompt's generation.
  std::function<bool(size_t index, int64_t token)> on_token = {};
};

// The tokens that follow each prompt (each at least one token). Token i after prompt p is drawn
// with the i-th number of (seed, "generate", p), so it depends neither on the other prompts nor on
// `batch` (but for the last bits of matrix products with several rows).
std::vector<std::vector<int64_t>> generate(const CausalLM& model,
                                           const std::vector<std::vector<int64_t>>& prompts,
                                           const GenerationOptions& options);

}  // namespace weft
