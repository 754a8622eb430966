#include "trainer/generate.h"

#include <algorithm>
#include <deque>
#include <string>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "base/check.h"
#include "base/random.h"

namespace weft {
namespace {

// One prompt and what has been made of it.
struct Sequence {
  size_t index;
  std::vector<int64_t> tokens;  // the prompt, then the answer
  size_t prompt_size;
  RandomStream stream;

  int64_t answered() const { return static_cast<int64_t>(tokens.size() - prompt_size); }
};

class Generator {
 public:
  Generator(const CausalLM& model, const GenerationOptions& options)
      : model_(model), options_(options), head_(model.decoding_head()) {}

  // Generates for all sequences at once until each has ended; they come back in `done`.
  void run(std::vector<Sequence> active, std::vector<std::vector<int64_t>>& answers) {
    int64_t longest = 0;
    for (const Sequence& sequence : active) {
      longest = std::max(longest, static_cast<int64_t>(sequence.tokens.size()));
    }
    capacity_ = std::min(options_.window, longest + options_.max_tokens);
    std::vector<Tensor> logits;  // of the next token, a row each
    std::vector<DecodingState> states;
    for (const Sequence& sequence : active) states.push_back(prefill(sequence.tokens, logits));
    DecodingState state = join_rows(states);
    states.clear();
    while (true) {
      std::vector<int64_t> going;  // rows that get another token
      for (size_t row = 0; row < active.size(); ++row) {
        if (draw(active[row], logits[row])) going.push_back(static_cast<int64_t>(row));
      }
      retire(active, going, answers);
      if (going.empty()) return;
      if (going.size() < state.lengths.size()) state = select_rows(state, going);
      step(active, state, logits);
    }
  }

 private:
  Tensor to_tokens(const std::vector<int64_t>& ids) const {
    return at::tensor(ids, at::kLong).to(options_.device);
  }

  // hidden [rows, T, d] -> a row of logits [V] on the CPU for the last token of each.
  void read_logits(const Tensor& hidden, std::vector<Tensor>& logits) const {
    const Tensor all = model_.next_logits(hidden.select(1, hidden.size(1) - 1), head_).cpu();
    for (const Tensor& row : all.unbind()) logits.push_back(row);
  }

  // The state after the last tokens of a sequence that the window has room for.
  DecodingState prefill(const std::vector<int64_t>& tokens, std::vector<Tensor>& logits) const {
    const auto size = static_cast<int64_t>(tokens.size());
    const int64_t kept = size <= options_.window ? size : std::max<int64_t>(1, options_.window / 2);
    const std::vector<int64_t> last(tokens.end() - kept, tokens.end());
    DecodingState state = model_.new_state(1, capacity_);
    read_logits(model_.extend(to_tokens(last).unsqueeze(0), state), logits);
    return state;
  }

  // Draws the next token; whether the sequence wants another one after it.
  bool draw(Sequence& sequence, const Tensor& logits) const {
    if (sequence.answered() >= options_.max_tokens) return false;
    penalize_repetition(logits, sequence.tokens, options_.sampling.repetition_penalty);
    const double u = sequence.stream.uniform(static_cast<uint64_t>(sequence.answered()));
    const int64_t token = sample_token(logits, options_.sampling, u);
    if (token == options_.end_token) return false;
    sequence.tokens.push_back(token);
    if (options_.on_token && !options_.on_token(sequence.index, token)) return false;
    return sequence.answered() < options_.max_tokens;
  }

  static void retire(std::vector<Sequence>& active, const std::vector<int64_t>& going,
                     std::vector<std::vector<int64_t>>& answers) {
    std::vector<Sequence> rest;
    size_t next = 0;
    for (size_t row = 0; row < active.size(); ++row) {
      Sequence& sequence = active[row];
      if (next < going.size() && going[next] == static_cast<int64_t>(row)) {
        rest.push_back(std::move(sequence));
        ++next;
      } else {
        const auto begin = sequence.tokens.begin() + static_cast<int64_t>(sequence.prompt_size);
        answers[sequence.index].assign(begin, sequence.tokens.end());
      }
    }
    active = std::move(rest);
  }

  // Feeds every sequence its last token; those whose window is full start anew.
  void step(const std::vector<Sequence>& active, DecodingState& state,
            std::vector<Tensor>& logits) const {
    logits.clear();
    const bool full = std::any_of(state.lengths.begin(), state.lengths.end(),
                                  [&](int64_t length) { return length >= capacity_; });
    if (full) {
      std::vector<DecodingState> states;
      for (size_t row = 0; row < active.size(); ++row) {
        if (state.lengths[row] >= capacity_) {
          states.push_back(prefill(active[row].tokens, logits));
        } else {
          DecodingState one = select_rows(state, {static_cast<int64_t>(row)});
          read_logits(model_.extend(to_tokens({active[row].tokens.back()}).reshape({1, 1}), one),
                      logits);
          states.push_back(std::move(one));
        }
      }
      state = join_rows(states);
      return;
    }
    std::vector<int64_t> last;
    for (const Sequence& sequence : active) last.push_back(sequence.tokens.back());
    read_logits(model_.extend(to_tokens(last).unsqueeze(1), state), logits);
  }

  const CausalLM& model_;
  const GenerationOptions& options_;
  const Tensor head_;
  int64_t capacity_ = 0;  // tokens that a state has room for: no more than can come
};

}  // namespace

std::vector<std::vector<int64_t>> generate(const CausalLM& model,
                                           const std::vector<std::vector<int64_t>>& prompts,
                                           const GenerationOptions& options) {
  WEFT_CHECK(options.batch >= 1 && options.window >= 1, "a batch of ", options.batch,
             ", a window of ", options.window);
  const at::NoGradGuard no_grad;
  std::vector<std::vector<int64_t>> answers(prompts.size());
  if (options.max_tokens == 0) return answers;
  const auto batch = static_cast<size_t>(options.batch);
  Generator generator(model, options);
  for (size_t begin = 0; begin < prompts.size(); begin += batch) {
    std::vector<Sequence> active;
    for (size_t i = begin; i < std::min(begin + batch, prompts.size()); ++i) {
      WEFT_CHECK(!prompts[i].empty(), "a prompt needs at least one token");
      // The first stream has no number: a single prompt's text is what it has always been.
      const std::string name = i == 0 ? "" : std::to_string(i);
      active.push_back(
          {i, prompts[i], prompts[i].size(), RandomStream(options.seed, "generate", name)});
    }
    generator.run(std::move(active), answers);
  }
  return answers;
}

}  // namespace weft
