#pragma once
// Looking into a model so that it can be compared with any other implementation: logits, losses and
// gradients of given token ids (`weft logits`, `weft grads`).
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/safetensors.h"
#include "base/status.h"
#include "trainer/load_model.h"

namespace weft {

using TokenLists = std::vector<std::vector<int64_t>>;

// A JSON file with a list of lists of token ids, none of them empty. Bad input names the list and
// the element.
absl::StatusOr<TokenLists> read_token_lists(const fs::path& path, int64_t vocab_size);
// The same of the text of such a file; `name` is for messages.
absl::StatusOr<TokenLists> parse_token_lists(const std::string& text, const std::string& name,
                                             int64_t vocab_size);

// Bad input if a sequence is longer than a learned position embedding has rows. `name` is for
// messages.
absl::Status check_lengths(const LoadedModel& model, const TokenLists& sequences,
                           const std::string& name);

// For each sequence i: `logits.<i>` [T, V] and `loss.<i>` [], the mean negative log-likelihood of
// its T - 1 targets in nats (0 for one token). Both in fp32. A sequence is computed when its logits
// are read, so memory holds one at a time; its loss, read after them, costs nothing more.
// `progress` (may be empty) is told after each how many have been computed, of how many. REQUIRES:
// `model` and `sequences` are there as long as what is returned.
std::vector<TensorSource> logit_sources(
    const LoadedModel& model, const TokenLists& sequences,
    const std::function<void(int64_t done, int64_t total)>& progress = {});

// The gradient of every parameter in fp32, under its Hugging Face name and in the layout on disk
// (for a model that transformers has no format for, under weft's own name), with `loss` [] and
// `aux` []. All sequences are one batch: loss = sum of the targets' nll over their number, plus the
// weighted auxiliary losses; aux is the balance loss pooled over layers and tokens, without its
// weight.
// REQUIRES: a model loaded with gradients.
std::vector<NamedTensor> compute_gradients(LoadedModel& model, const TokenLists& sequences);

}  // namespace weft
