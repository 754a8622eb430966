#include "trainer/same_run.h"

#include <algorithm>
#include <string>
#include <vector>

#include "recipes/load.h"
#include "trainer/plan_steps.h"

namespace weft {
namespace {

// Whether the first `step` updates, one or more, are the same places of the same stages.
bool same_finished_stages(const Recipe& a, const Recipe& b, int64_t step) {
  const StepPlace last = locate(a, step - 1);
  if (!(last == locate(b, step - 1))) return false;
  for (size_t i = 0; i < last.stage; ++i) {
    if (a.stages[i].steps != b.stages[i].steps) return false;
  }
  return true;
}

}  // namespace

absl::Status check_same_run(const RunIdentity& stored, const RunIdentity& now,
                            const fs::path& run_dir) {
  std::vector<std::string> changes = differences(stored.recipe, now.recipe);
  const int64_t step = stored.state.step;
  if (stored.state.compute != now.state.compute) {
    changes.push_back(internal::join_parts("precision.compute: ", stored.state.compute,
                                           " in the run, ", now.state.compute, " now"));
  }
  const bool other_sources = std::any_of(
      changes.begin(), changes.end(),
      [](const std::string& change) { return change.find(".data.") != std::string::npos; });
  if (!other_sources && stored.state.data != now.state.data) {
    changes.push_back("stages.*.data.sources: the texts have changed since the run began");
  }
  const int64_t total = total_steps(now.recipe);
  if (step > total) {
    changes.push_back(
        internal::join_parts("the run has done ", step, " updates, the recipe has ", total));
  } else if (step > 0 && stored.recipe.stages.size() == now.recipe.stages.size() &&
             !same_finished_stages(stored.recipe, now.recipe, step)) {
    changes.push_back("stages that the run has finished have another number of steps");
  }
  if (changes.empty()) return absl::OkStatus();
  std::string text =
      internal::join_parts(run_dir.string(),
                           " holds a run of another recipe; give another --run-dir, or --restart "
                           "to begin anew. Differences:");
  for (const std::string& change : changes) text += "\n  " + change;
  return bad_input(text);
}

}  // namespace weft
