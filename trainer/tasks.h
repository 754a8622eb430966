#pragma once
// Multiple-choice tasks: which of a few continuations of a context a model finds most likely.
// Formats and metrics: docs/evaluation.md. Files are read in read_tasks.cpp, models run in
// tasks.cpp.
//
//   ChoiceOptions options = {.sequence_length = 1024, .prefix_token = tokenizer.end_of_document()};
//   WEFT_ASSIGN_OR_RETURN(const auto items,
//                         read_choice_tasks("task.jsonl", tokenizer, vocab_size, options));
//   const ChoiceResult result = evaluate_choices(model, items, options);
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "data/tokenizers/tokenizer.h"
#include "models/causal_lm.h"

namespace weft {

struct ChoiceItem {
  std::vector<int64_t> context;               // tokens
  std::vector<std::vector<int64_t>> choices;  // tokens of each continuation, at least one
  std::vector<int64_t> characters = {};       // Unicode code points of each choice's text,
  std::vector<int64_t> bytes = {};            // and its bytes; both empty where it is unknown
  int64_t answer = 0;                         // index of the right choice
};

struct ChoiceOptions {
  int64_t sequence_length = 1024;  // of a longer input the model sees its last tokens
  // Goes before each context that does not begin with it; -1: nothing does.
  int64_t prefix_token = -1;
  int64_t tokens_per_forward = 8192;          // exceeded by one sequence that is longer
  int64_t logits_at_once = int64_t{1} << 25;  // 128 MiB in fp32, whatever the vocabulary
  at::Device device = at::kCPU;
  // Called after each forward pass with items done and in all; returning false ends the evaluation.
  std::function<bool(int64_t done, int64_t total)> progress = {};
};

// The items of a JSONL file, at least one. Where the model has no tokenizer only token ids will do,
// and `tokenizer` is the error that says so. What `options` rule out is refused too: a choice longer
// than the sequence length, no context and no prefix token. Bad input: the first 10 problems, one a
// line, each with path:line, the member and what is allowed, and how many more there are.
absl::StatusOr<std::vector<ChoiceItem>> read_choice_tasks(
    const fs::path& path, const absl::StatusOr<Tokenizer>& tokenizer, int64_t vocab_size,
    const ChoiceOptions& options);

struct Accuracy {
  double value = 0;                      // share of the items whose best choice is the answer
  std::optional<double> standard_error;  // sqrt(p (1 - p) / (n - 1)); none of a single item
};

struct ChoiceResult {
  int64_t items = 0;
  Accuracy acc;                       // by log-likelihood
  std::optional<Accuracy> acc_norm;   // by log-likelihood per character
  std::optional<Accuracy> acc_bytes;  // by log-likelihood per byte; both need every item's texts
};

// Log-likelihood of each choice after its context, [item][choice] in nats: a sum in fp64 over the
// choice's tokens. Sequences are packed into rows of `tokens_per_forward`; each is scored as if it
// were alone. Fewer items come back if `progress` ended the evaluation.
std::vector<std::vector<double>> choice_log_likelihoods(const CausalLM& model,
                                                        const std::vector<ChoiceItem>& items,
                                                        const ChoiceOptions& options);

// The metrics of the first items, as many as have log-likelihoods. The first of equal choices wins;
// an item with a log-likelihood that is not a number counts as wrong.
ChoiceResult score_choices(const std::vector<ChoiceItem>& items,
                           const std::vector<std::vector<double>>& log_likelihoods);

// Both in one call.
ChoiceResult evaluate_choices(const CausalLM& model, const std::vector<ChoiceItem>& items,
                              const ChoiceOptions& options);

}  // namespace weft
