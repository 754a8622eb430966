#pragma once
// Text from a prompt, a token at a time.
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
  int64_t window = 1024;   // the model sees at most this many of the last tokens
  int64_t end_token = -1;  // generation ends when it is drawn; -1: never
  at::Device device = at::kCPU;
  // Called with each new token; returning false ends the generation.
  std::function<bool(int64_t token)> on_token = {};
};

// The tokens that follow `prompt` (at least one token). Token i of the answer is drawn with the
// i-th number of (seed, "generate"), so the text depends on nothing else.
std::vector<int64_t> generate(const CausalLM& model, std::vector<int64_t> prompt,
                              const GenerationOptions& options);

}  // namespace weft
