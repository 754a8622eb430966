#include "trainer/generate.h"

#include <algorithm>
#include <optional>
#include <string>

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include "base/check.h"
#include "base/random.h"

namespace weft {
namespace {

using Tokens = std::vector<int64_t>;

// A prompt and what has been made of it.
struct Sequence {
  size_t index;
  Tokens tokens;  // the prompt, then the answer
  int64_t answered;
  RandomStream stream;
};

// Each sequence has a row of one state. A row is prefilled alone, all rows then take a token at a
// time together, and one whose sequence has ended is given to the next prompt.
class Generator {
 public:
  Generator(const CausalLM& model, const std::vector<Tokens>& prompts,
            const GenerationOptions& options)
      : model_(model),
        prompts_(prompts),
        options_(options),
        size_(state_size(prompts, options)),
        answers_(prompts.size()),
        done_(prompts.size()) {
    const int64_t positions = model.config().learned_positions;
    WEFT_CHECK(positions == 0 || size_.capacity <= positions, size_.capacity, " tokens for ",
               positions, " positions");
  }

  absl::StatusOr<std::vector<Tokens>> run() {
    state_ = model_.new_state(size_.rows, size_.capacity);
    while (static_cast<int64_t>(active_.size()) < size_.rows && next_ < prompts_.size()) {
      const size_t row = active_.size();
      active_.push_back(next_sequence());
      WEFT_ASSIGN_OR_RETURN(const bool waits, settle(row, read_prompt(row)));
      if (!waits) active_.pop_back();
    }
    state_ = narrow_rows(state_, 0, static_cast<int64_t>(active_.size()));
    while (!active_.empty()) {
      const Tensor logits = step();
      for (size_t row = active_.size(); row-- > 0;) {
        WEFT_ASSIGN_OR_RETURN(const bool waits, settle(row, logits, static_cast<int64_t>(row)));
        if (!waits) remove(row);
      }
    }
    return std::move(answers_);
  }

 private:
  Sequence next_sequence() {
    const size_t index = next_++;
    WEFT_CHECK(!prompts_[index].empty(), "a prompt needs at least one token");
    // The first stream has no number: a single prompt's text is what it has always been.
    const std::string name = index == 0 ? "" : std::to_string(index);
    return {index, prompts_[index], 0, RandomStream(options_.seed, "generate", name)};
  }

  // Draws from a row's logits, those at `at` of [.., V], and goes on alone until the row waits for
  // the next step: from the last half of a full window, or with the next prompt. False if no prompt
  // is left for the row.
  absl::StatusOr<bool> settle(size_t row, Tensor logits, int64_t at = 0) {
    for (;; at = 0) {
      WEFT_ASSIGN_OR_RETURN(const bool goes_on, draw(active_[row], logits, at));
      if (goes_on) {
        if (state_.lengths[row] < size_.capacity) return true;
        logits = restart(row);
      } else {
        WEFT_RETURN_IF_ERROR(finish(active_[row]));
        if (next_ == prompts_.size()) return false;
        active_[row] = next_sequence();
        logits = read_prompt(row);
      }
    }
  }

  // Draws the next token; whether the sequence wants another one after it.
  absl::StatusOr<bool> draw(Sequence& sequence, const Tensor& logits, int64_t at) const {
    penalize_repetition(logits, sequence.tokens, options_.sampling.repetition_penalty, at);
    const double u = sequence.stream.uniform(static_cast<uint64_t>(sequence.answered));
    const std::optional<int64_t> token = sample_token(logits, options_.sampling, u, at);
    if (!token.has_value()) {
      return run_failure("prompt ", sequence.index + 1, ": the logits of token ",
                         sequence.answered + 1, " are not finite numbers");
    }
    const Tokens& ends = options_.end_tokens;
    if (std::find(ends.begin(), ends.end(), *token) != ends.end()) return false;
    sequence.tokens.push_back(*token);
    ++sequence.answered;
    if (options_.on_token) {
      WEFT_ASSIGN_OR_RETURN(const bool wanted, options_.on_token(sequence.index, *token));
      if (!wanted) return false;
    }
    return sequence.answered < options_.max_tokens;
  }

  Tensor read_prompt(size_t row) {
    const auto size = static_cast<int64_t>(active_[row].tokens.size());
    return prefill(row, std::min(size, size_.capacity));
  }

  Tensor restart(size_t row) {
    const int64_t half = std::max<int64_t>(1, size_.capacity / 2);
    if (options_.log != nullptr && !warned_) {
      options_.log->warning("window of ", size_.capacity,
                            " tokens is full: what is before the last ", half,
                            " is forgotten, and these are read again");
    }
    warned_ = true;
    return prefill(row, half);
  }

  // Makes a row's state that of the last `count` tokens of its sequence, and gives the logits [1,
  // V] of the token after them.
  Tensor prefill(size_t row, int64_t count) {
    const Tokens& tokens = active_[row].tokens;
    const Tensor last = at::empty({1, count}, at::kLong);
    std::copy(tokens.end() - count, tokens.end(), last.mutable_data_ptr<int64_t>());
    const auto first = static_cast<int64_t>(row);
    DecodingState state = narrow_rows(state_, first, 1);
    clear(state);
    const Tensor logits = next_logits(last, state);
    put_rows(std::move(state), first, state_);
    return logits;
  }

  // Feeds every sequence its last token; logits [rows, V]. Without operators that do nothing, and
  // in the tensor of the last step: once a token all of their code comes from memory.
  Tensor step() {
    const auto rows = static_cast<int64_t>(active_.size());
    if (!last_tokens_.defined() || last_tokens_.size(0) != rows) {
      last_tokens_ = at::empty({rows, 1}, at::kLong);
    }
    auto* next = last_tokens_.mutable_data_ptr<int64_t>();
    for (const Sequence& sequence : active_) *next++ = sequence.tokens.back();
    return next_logits(last_tokens_, state_);
  }

  // tokens [rows, T] -> logits [rows, V] of what follows them, both on the CPU.
  Tensor next_logits(const Tensor& tokens, DecodingState& state) const {
    if (options_.device.is_cpu()) return model_.next_logits(tokens, state);
    return model_.next_logits(tokens.to(options_.device), state).cpu();
  }

  absl::Status finish(const Sequence& sequence) {
    answers_[sequence.index].assign(sequence.tokens.end() - sequence.answered,
                                    sequence.tokens.end());
    done_[sequence.index] = true;
    for (; shown_ < done_.size() && done_[shown_]; ++shown_) {
      if (!options_.on_answer) continue;
      WEFT_RETURN_IF_ERROR(options_.on_answer(shown_, answers_[shown_]));
    }
    return absl::OkStatus();
  }

  // The last row takes the place of one that has ended.
  void remove(size_t row) {
    const size_t last = active_.size() - 1;
    if (row != last) {
      put_rows(narrow_rows(state_, static_cast<int64_t>(last), 1), static_cast<int64_t>(row),
               state_);
      active_[row] = std::move(active_[last]);
    }
    active_.pop_back();
    state_ = narrow_rows(state_, 0, static_cast<int64_t>(last));
  }

  const CausalLM& model_;
  const std::vector<Tokens>& prompts_;
  const GenerationOptions& options_;
  const StateSize size_;
  DecodingState state_;           // of active_, a row each
  std::vector<Sequence> active_;  // each with a last token that its row has not seen
  Tensor last_tokens_;            // [rows, 1] those, on the CPU
  size_t next_ = 0;               // the first prompt that has not begun
  std::vector<Tokens> answers_;
  std::vector<bool> done_;
  size_t shown_ = 0;  // answers given to on_answer
  bool warned_ = false;
};

}  // namespace

StateSize state_size(const std::vector<std::vector<int64_t>>& prompts,
                     const GenerationOptions& options) {
  if (options.max_tokens == 0) return {};
  size_t longest = 0;
  for (const Tokens& prompt : prompts) longest = std::max(longest, prompt.size());
  const int64_t most = static_cast<int64_t>(longest) + options.max_tokens;
  return {.rows = std::min(options.batch, static_cast<int64_t>(prompts.size())),
          .capacity = std::min(most, options.window.value_or(most))};
}

absl::StatusOr<std::vector<std::vector<int64_t>>> generate(
    const CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
    const GenerationOptions& options) {
  WEFT_CHECK(options.batch >= 1 && options.window.value_or(1) >= 1, "a batch of ", options.batch,
             ", a window of ", options.window.value_or(1));
  const c10::InferenceMode inference;  // autograd's bookkeeping takes as long as a small operator
  if (options.max_tokens > 0) return Generator(model, prompts, options).run();
  for (size_t i = 0; options.on_answer && i < prompts.size(); ++i) {
    WEFT_RETURN_IF_ERROR(options.on_answer(i, {}));
  }
  return std::vector<std::vector<int64_t>>(prompts.size());
}

}  // namespace weft
