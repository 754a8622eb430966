#include "trainer/tasks.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include "base/check.h"
#include "models/head.h"

namespace weft {
namespace {

struct Target {
  int64_t position;  // of the token in front of it
  int64_t token;
  size_t choice;
};

struct Sequence {
  std::vector<int64_t> tokens;
  std::vector<Target> targets;
};

// Prefix, context and one choice without its last token, which is only a target.
Sequence sequence_of(const ChoiceItem& item, size_t choice, const ChoiceOptions& options) {
  const std::vector<int64_t>& scored = item.choices[choice];
  Sequence sequence;
  std::vector<int64_t>& tokens = sequence.tokens;
  const bool has_prefix = !item.context.empty() && item.context.front() == options.prefix_token;
  if (options.prefix_token >= 0 && !has_prefix) tokens.push_back(options.prefix_token);
  tokens.insert(tokens.end(), item.context.begin(), item.context.end());
  WEFT_CHECK(!scored.empty() && !tokens.empty(), "a choice needs tokens, and some before it");
  tokens.insert(tokens.end(), scored.begin(), scored.end() - 1);

  const int64_t seen = std::min(static_cast<int64_t>(tokens.size()), options.sequence_length);
  const int64_t first = seen - static_cast<int64_t>(scored.size());
  WEFT_CHECK(first >= 0, "a choice of ", scored.size(), " tokens, at most ", seen);
  tokens.erase(tokens.begin(), tokens.end() - seen);
  for (size_t i = 0; i < scored.size(); ++i) {
    sequence.targets.push_back({first + static_cast<int64_t>(i), scored[i], choice});
  }
  return sequence;
}

std::vector<Sequence> sequences_of(const ChoiceItem& item, const ChoiceOptions& options) {
  std::vector<Sequence> sequences;
  for (size_t choice = 0; choice < item.choices.size(); ++choice) {
    Sequence next = sequence_of(item, choice, options);
    // Choices that differ in their last token alone, such as the letters A to D, need one pass.
    if (!sequences.empty() && sequences.back().tokens == next.tokens) {
      std::vector<Target>& targets = sequences.back().targets;
      targets.insert(targets.end(), next.targets.begin(), next.targets.end());
    } else {
      sequences.push_back(std::move(next));
    }
  }
  return sequences;
}

// Sequences behind each other in the one row of a forward pass.
struct Row {
  std::vector<int64_t> tokens;
  std::vector<int32_t> documents;
  std::vector<int64_t> positions, targets;
  std::vector<double*> sums;  // of the log-likelihood that each target adds to

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }

  void add(const Sequence& sequence, std::vector<double>& log_likelihoods) {
    const int64_t begin = length();
    const int32_t document = documents.empty() ? 0 : documents.back() + 1;
    tokens.insert(tokens.end(), sequence.tokens.begin(), sequence.tokens.end());
    documents.resize(tokens.size(), document);
    for (const Target& target : sequence.targets) {
      positions.push_back(begin + target.position);
      targets.push_back(target.token);
      sums.push_back(&log_likelihoods[target.choice]);
    }
  }
};

void run(const CausalLM& model, const Row& row, const ChoiceOptions& options) {
  const at::Device device = options.device;
  const Tensor tokens = at::tensor(row.tokens, at::kLong).unsqueeze(0).to(device);  // [1, T]
  const Tensor documents = at::tensor(row.documents, at::kInt).unsqueeze(0);
  const Tensor hidden =
      model.hidden(tokens, Documents::from_ids(documents, device), nullptr).squeeze(0);  // [T, d]
  const Tensor positions = at::tensor(row.positions, at::kLong).to(device);
  const Tensor targets = at::tensor(row.targets, at::kLong).to(device);

  const int64_t count = targets.size(0);
  const int64_t at_once = std::max<int64_t>(1, options.logits_at_once / model.config().vocab_size);
  std::vector<Tensor> nll;
  for (int64_t first = 0; first < count; first += at_once) {
    const int64_t n = std::min(at_once, count - first);
    const Tensor logits = model.head(hidden.index_select(0, positions.narrow(0, first, n)));
    nll.push_back(token_nll(logits, targets.narrow(0, first, n)).to(at::kDouble));
  }
  const Tensor all = at::cat(nll).cpu();
  const auto value = all.accessor<double, 1>();
  for (int64_t i = 0; i < count; ++i) *row.sums[i] -= value[i];
}

// The index of the largest, the first of equals; none if one is not a number.
std::optional<int64_t> largest(const std::vector<double>& values) {
  for (const double value : values) {
    if (std::isnan(value)) return std::nullopt;
  }
  return std::max_element(values.begin(), values.end()) - values.begin();
}

// `lengths`: the member to divide each choice's log-likelihood by; null: by nothing.
Accuracy accuracy(const std::vector<ChoiceItem>& items,
                  const std::vector<std::vector<double>>& log_likelihoods,
                  std::vector<int64_t> ChoiceItem::*lengths) {
  const double n = static_cast<double>(log_likelihoods.size());
  int64_t right = 0;
  for (size_t i = 0; i < log_likelihoods.size(); ++i) {
    std::vector<double> values = log_likelihoods[i];
    for (size_t choice = 0; lengths != nullptr && choice < values.size(); ++choice) {
      values[choice] /= static_cast<double>((items[i].*lengths)[choice]);
    }
    right += largest(values) == items[i].answer;
  }
  Accuracy result;
  if (n > 0) result.value = static_cast<double>(right) / n;
  if (n > 1) result.standard_error = std::sqrt(result.value * (1 - result.value) / (n - 1));
  return result;
}

}  // namespace

std::vector<std::vector<double>> choice_log_likelihoods(const CausalLM& model,
                                                        const std::vector<ChoiceItem>& items,
                                                        const ChoiceOptions& options) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<double>> sums;
  for (const ChoiceItem& item : items) sums.emplace_back(item.choices.size(), 0.0);
  Row row;
  // Whether to go on, with `done` items complete.
  const auto flush = [&](size_t done) {
    run(model, row, options);
    row = {};
    return !options.progress ||
           options.progress(static_cast<int64_t>(done), static_cast<int64_t>(items.size()));
  };
  for (size_t i = 0; i < items.size(); ++i) {
    for (const Sequence& sequence : sequences_of(items[i], options)) {
      const int64_t length = row.length() + static_cast<int64_t>(sequence.tokens.size());
      if (row.length() > 0 && length > options.tokens_per_forward && !flush(i)) {
        sums.resize(i);
        return sums;
      }
      row.add(sequence, sums[i]);
    }
  }
  if (row.length() > 0) flush(items.size());
  return sums;
}

ChoiceResult score_choices(const std::vector<ChoiceItem>& items,
                           const std::vector<std::vector<double>>& log_likelihoods) {
  WEFT_CHECK(log_likelihoods.size() <= items.size(), log_likelihoods.size(), " of ", items.size());
  bool known = true;
  for (size_t i = 0; i < log_likelihoods.size(); ++i) {
    const ChoiceItem& item = items[i];
    WEFT_CHECK(log_likelihoods[i].size() == item.choices.size(), "item ", i);
    known &=
        item.characters.size() == item.choices.size() && item.bytes.size() == item.choices.size();
  }
  ChoiceResult result;
  result.items = static_cast<int64_t>(log_likelihoods.size());
  result.acc = accuracy(items, log_likelihoods, nullptr);
  if (!known) return result;
  result.acc_norm = accuracy(items, log_likelihoods, &ChoiceItem::characters);
  result.acc_bytes = accuracy(items, log_likelihoods, &ChoiceItem::bytes);
  return result;
}

ChoiceResult evaluate_choices(const CausalLM& model, const std::vector<ChoiceItem>& items,
                              const ChoiceOptions& options) {
  return score_choices(items, choice_log_likelihoods(model, items, options));
}

}  // namespace weft
