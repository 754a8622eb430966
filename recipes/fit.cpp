#include "recipes/fit.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "recipes/available_memory.h"
#include "recipes/plan.h"

namespace weft {
namespace {

// Settings, and what they do to a recipe.
struct Change {
  std::vector<std::string> sets;
  void (*apply)(Recipe&);
};

// Those that change something, in the order of what they cost.
std::vector<Change> changes_of(const Recipe& recipe) {
  std::vector<Change> changes;
  const MiniSequences& slices = recipe.memory.mini_sequences;
  if (slices.map.has_value() || slices.word != MiniSequenceRule::kSmall) {
    changes.push_back({{"memory.mini_sequences=small"},
                       [](Recipe& r) { r.memory.mini_sequences = MiniSequenceRule::kSmall; }});
  }
  const Recompute now = recipe.memory.recompute;
  const auto recompute = [&](const char* set, void (*apply)(Recipe&)) {
    Change change{{set}, apply};
    if (recipe.memory.recompute_every != 1) change.sets.push_back("memory.recompute_every=1");
    changes.push_back(std::move(change));
  };
  if (now == Recompute::kNone) {
    recompute("memory.recompute=selective", [](Recipe& r) {
      r.memory.recompute = Recompute::kSelective;
      r.memory.recompute_every = 1;
    });
  }
  if (now != Recompute::kBlock || recipe.memory.recompute_every != 1) {
    recompute("memory.recompute=block", [](Recipe& r) {
      r.memory.recompute = Recompute::kBlock;
      r.memory.recompute_every = 1;
    });
  }
  return changes;
}

SmallerPlan with_change(SmallerPlan plan, const Change& change, Recipe& recipe) {
  change.apply(recipe);
  plan.sets.insert(plan.sets.end(), change.sets.begin(), change.sets.end());
  return plan;
}

// One sequence a forward pass in all stages.
SmallerPlan with_one_sequence(SmallerPlan plan, Recipe& recipe) {
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    StageConfig& stage = recipe.stages[i];
    if (*stage.micro_batch_tokens == stage.sequence_length) continue;
    stage.micro_batch_tokens = Auto<int64_t>(stage.sequence_length);
    plan.sets.push_back(absl::StrCat("stages.", i, ".micro_batch_tokens=", stage.sequence_length));
  }
  return plan;
}

}  // namespace

int64_t longest_sequence(const Recipe& recipe, int compute_bytes, int64_t bytes) {
  const int64_t positions = build_config(recipe.model).learned_positions;
  const auto fits = [&](int64_t length) {
    Recipe longer = recipe;
    for (StageConfig& stage : longer.stages) {
      stage.sequence_length = length;
      stage.micro_batch_tokens = Auto<int64_t>(length);
    }
    return fit_mini_sequences(longer, compute_bytes, bytes) <= bytes;
  };
  int64_t low = 0, high = positions > 0 ? positions + 1 : int64_t{1} << 40;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

int64_t fit_mini_sequences(Recipe& recipe, int compute_bytes, int64_t bytes) {
  const int64_t needed = plan_memory(recipe, compute_bytes).total();
  MiniSequences& slices = recipe.memory.mini_sequences;
  const bool is_auto = !slices.map.has_value() && slices.word == MiniSequenceRule::kAuto;
  if (needed <= bytes || !is_auto) return needed;
  slices = MiniSequenceRule::kSmall;
  const int64_t smaller = plan_memory(recipe, compute_bytes).total();
  if (smaller <= bytes) return smaller;
  slices = MiniSequenceRule::kAuto;
  return needed;
}

std::vector<SmallerPlan> plans_that_fit(const Recipe& recipe, int compute_bytes, int64_t bytes) {
  std::vector<SmallerPlan> fitting;
  const auto try_out = [&](SmallerPlan plan, const Recipe& changed) {
    plan.bytes = plan_memory(changed, compute_bytes).total();
    if (!plan.sets.empty() && plan.bytes <= bytes) fitting.push_back(std::move(plan));
  };
  const std::vector<Change> changes = changes_of(recipe);
  // Each change alone; where none is enough, slices with each of the others.
  const auto combinations = [&](const SmallerPlan& base, const Recipe& start) {
    for (const Change& change : changes) {
      Recipe changed = start;
      try_out(with_change(base, change, changed), changed);
    }
    const bool slices = !changes.empty() && changes[0].sets[0].rfind("memory.mini", 0) == 0;
    if (!fitting.empty() || !slices) return;
    for (size_t i = 1; i < changes.size(); ++i) {
      Recipe changed = start;
      const SmallerPlan first = with_change(base, changes[0], changed);
      try_out(with_change(first, changes[i], changed), changed);
    }
  };
  Recipe one = recipe;
  const SmallerPlan alone = with_one_sequence({}, one);
  combinations({}, recipe);
  try_out(alone, one);
  if (fitting.empty() && !alone.sets.empty()) combinations(alone, one);
  return fitting;
}

std::string fitting_words(const Recipe& recipe, int compute_bytes, int64_t bytes) {
  std::vector<std::string> words;
  for (const SmallerPlan& plan : plans_that_fit(recipe, compute_bytes, bytes)) {
    words.push_back(absl::StrCat(absl::StrJoin(plan.sets, " "), " (",
                                 gib_text(static_cast<double>(plan.bytes)), ")"));
  }
  if (!words.empty()) return absl::StrCat("it fits with ", absl::StrJoin(words, ", or "));
  Recipe smallest = recipe;
  smallest.memory = {.mini_sequences = MiniSequenceRule::kSmall,
                     .recompute = Recompute::kBlock,
                     .offload = recipe.memory.offload};
  const int64_t longest = longest_sequence(smallest, compute_bytes, bytes);
  if (longest == 0) return "no setting makes this model fit";
  return absl::StrCat("with memory.mini_sequences=small memory.recompute=block sequences of up to ",
                      longest, " tokens fit, one a forward pass");
}

}  // namespace weft
