#pragma once
// Tokens that follow prompts, one at a time, with the state of all tokens before kept.
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "models/causal_lm.h"
#include "models/sampling.h"

namespace weft {

struct GenerationOptions {
  SamplingConfig sampling = {};
  uint64_t seed = 1;
  int64_t max_tokens = 256;
  // The model sees at most this many tokens; none: any number. Of a longer prompt it reads the last
  // ones. When the window is full it reads the last half of it again: a state cannot forget its
  // first tokens.
  std::optional<int64_t> window = {};
  std::vector<int64_t> end_tokens = {};  // a prompt's generation ends when one of them is drawn
  int64_t batch = 8;                     // prompts at once
  at::Device device = at::kCPU;
  // Called with each new token of prompt `index`; false ends that prompt's generation, an error all
  // of it. This and on_answer run in inference mode: autograd cannot use tensors made there.
  std::function<absl::StatusOr<bool>(size_t index, int64_t token)> on_token = {};
  // Called with each prompt's answer, in the order of the prompts, as soon as it and all before it
  // are there; an error ends all generation.
  std::function<absl::Status(size_t index, const std::vector<int64_t>& answer)> on_answer = {};
  Log* log = nullptr;  // is warned, once a call, that a window was full
};

// The tokens that follow each prompt (each at least one token), without the end token. Token i
// after prompt p is drawn with the i-th number of (seed, "generate", p), so it depends neither on
// the other prompts nor on `batch` (but for the last bits of matrix products with several rows). A
// prompt that has ended makes room for the next one. Errors: logits that sample_token cannot draw
// from, a run failure that names the prompt and the token, from 1; what on_token and on_answer
// give. REQUIRES: with learned positions, a window of at most that many tokens.
absl::StatusOr<std::vector<std::vector<int64_t>>> generate(
    const CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
    const GenerationOptions& options);

// The state that `generate` keeps: prompts that go on at once, and the tokens that each has room
// for, no more than can come.
struct StateSize {
  int64_t rows = 0;
  int64_t capacity = 0;
};
StateSize state_size(const std::vector<std::vector<int64_t>>& prompts,
                     const GenerationOptions& options);

}  // namespace weft
