#include "recipes/fit.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "recipes/available_memory.h"
#include "recipes/environment.h"

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
  if (recipe.memory.offload) {
    recompute("memory.offload=false", [](Recipe& r) {
      r.memory.offload = false;
      r.memory.recompute_every = 1;
    });
  }
  return changes;
}

// What is computed again waits in the host of a GPU.
Change offload_of(const Recipe& recipe) {
  Change change{{}, [](Recipe& r) {
                  r.memory.recompute = Recompute::kBlock;
                  r.memory.recompute_every = 1;
                  r.memory.offload = true;
                }};
  if (recipe.memory.recompute != Recompute::kBlock) {
    change.sets.emplace_back("memory.recompute=block");
  }
  if (recipe.memory.recompute_every != 1) change.sets.emplace_back("memory.recompute_every=1");
  change.sets.emplace_back("memory.offload=true");
  return change;
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

Room room_here(const Recipe& recipe) {
  const int64_t host = available_memory(at::kCPU);
  return {.device = runs_on_cuda(recipe) ? available_memory(at::kCUDA) : host, .host = host};
}

bool fits(const MemoryPlan& plan, const Room& room) {
  return plan.total() <= room.device && plan.host <= room.host;
}

LongestSequence longest_sequence(const Recipe& recipe, int compute_bytes, const Room& room) {
  const int64_t positions = build_config(recipe.model).learned_positions;
  const auto plan_of = [&](int64_t length) {
    Recipe longer = recipe;
    for (StageConfig& stage : longer.stages) {
      stage.sequence_length = length;
      stage.micro_batch_tokens = Auto<int64_t>(length);
    }
    return fit_mini_sequences(longer, compute_bytes, room);
  };
  int64_t low = 0, high = positions > 0 ? positions + 1 : int64_t{1} << 40;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(plan_of(middle), room) ? low : high) = middle;
  }
  return {low, low == 0 ? MemoryPlan{} : plan_of(low)};
}

MemoryPlan fit_mini_sequences(Recipe& recipe, int compute_bytes, const Room& room) {
  const MemoryPlan needed = plan_memory(recipe, compute_bytes);
  MiniSequences& slices = recipe.memory.mini_sequences;
  const bool is_auto = !slices.map.has_value() && slices.word == MiniSequenceRule::kAuto;
  if (fits(needed, room) || !is_auto) return needed;
  slices = MiniSequenceRule::kSmall;
  const MemoryPlan smaller = plan_memory(recipe, compute_bytes);
  if (fits(smaller, room)) return smaller;
  slices = MiniSequenceRule::kAuto;
  return needed;
}

std::vector<SmallerPlan> plans_that_fit(const Recipe& recipe, int compute_bytes, const Room& room) {
  std::vector<SmallerPlan> fitting;
  const auto try_out = [&](SmallerPlan plan, const Recipe& changed) {
    plan.memory = plan_memory(changed, compute_bytes);
    if (!plan.sets.empty() && fits(plan.memory, room)) fitting.push_back(std::move(plan));
  };
  const std::vector<Change> changes = changes_of(recipe);
  // Each change alone; where none is enough, slices with each of the others; then in the host.
  const auto combinations = [&](const SmallerPlan& base, const Recipe& start) {
    for (const Change& change : changes) {
      Recipe changed = start;
      try_out(with_change(base, change, changed), changed);
    }
    const bool slices = !changes.empty() && changes[0].sets[0].rfind("memory.mini", 0) == 0;
    for (size_t i = 1; fitting.empty() && slices && i < changes.size(); ++i) {
      Recipe changed = start;
      const SmallerPlan first = with_change(base, changes[0], changed);
      try_out(with_change(first, changes[i], changed), changed);
    }
    if (!fitting.empty() || recipe.memory.offload || !runs_on_cuda(recipe)) return;
    const Change offload = offload_of(recipe);
    Recipe changed = start;
    const SmallerPlan alone = with_change(base, offload, changed);
    try_out(alone, changed);
    if (!fitting.empty() || !slices) return;
    try_out(with_change(alone, changes[0], changed), changed);
  };
  Recipe one = recipe;
  const SmallerPlan alone = with_one_sequence({}, one);
  combinations({}, recipe);
  try_out(alone, one);
  if (fitting.empty() && !alone.sets.empty()) combinations(alone, one);
  return fitting;
}

std::string plan_text(const MemoryPlan& plan) {
  return absl::StrCat(
      gib_text(static_cast<double>(plan.total())),
      plan.host > 0
          ? absl::StrCat(", and ", gib_text(static_cast<double>(plan.host)), " in its host")
          : "");
}

std::string fitting_words(const Recipe& recipe, int compute_bytes, const Room& room) {
  std::vector<std::string> words;
  for (const SmallerPlan& plan : plans_that_fit(recipe, compute_bytes, room)) {
    words.push_back(absl::StrCat(absl::StrJoin(plan.sets, " "), " (", plan_text(plan.memory), ")"));
  }
  if (!words.empty()) return absl::StrCat("it fits with ", absl::StrJoin(words, ", or "));
  Recipe smallest = recipe;
  smallest.memory = {.mini_sequences = MiniSequenceRule::kSmall, .recompute = Recompute::kBlock};
  LongestSequence longest = longest_sequence(smallest, compute_bytes, room);
  std::string sets = "memory.mini_sequences=small memory.recompute=block";
  if (recipe.memory.recompute_every != 1) absl::StrAppend(&sets, " memory.recompute_every=1");
  smallest.memory.offload = runs_on_cuda(recipe);
  const LongestSequence in_host = longest_sequence(smallest, compute_bytes, room);
  const bool offload = in_host.tokens > longest.tokens;
  if (offload) longest = in_host;
  if (longest.tokens == 0) return "no setting makes this model fit";
  if (offload != recipe.memory.offload) {
    absl::StrAppend(&sets, " memory.offload=", offload ? "true" : "false");
  }
  return absl::StrCat("with ", sets, " sequences of up to ", longest.tokens,
                      " tokens fit, one a forward pass (", plan_text(longest.plan), ")");
}

}  // namespace weft
