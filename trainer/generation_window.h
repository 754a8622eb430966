#pragma once
// How many tokens a model sees at once while it generates, and whether there is memory for them.
#include <cstdint>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "trainer/generate.h"
#include "trainer/load_model.h"
#include "trainer/prompts.h"

namespace weft {

// `asked`, or what the model was trained on or made for. None, which is any number, for a model
// without attention and without learned positions: its state has one size for all lengths.
std::optional<int64_t> generation_window(const LoadedModel& model, std::optional<int64_t> asked);

// Bad input: more tokens than there are learned positions; where the window is all of them, a
// prompt that is longer, by its number from 1. Any other prompt that is longer is warned about:
// only its last tokens are read.
absl::Status check_window(const LoadedModel& model, std::optional<int64_t> window,
                          const std::vector<Prompt>& prompts, Log& log);

// Bad input: the state and the weights together need more memory than there is.
absl::Status check_state_memory(const LoadedModel& model, const StateSize& size);

}  // namespace weft
