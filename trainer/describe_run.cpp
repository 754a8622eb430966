#include "trainer/describe_run.h"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include <nlohmann/json.hpp>

#include "recipes/load.h"
#include "recipes/plan.h"
#include "trainer/checkpoint.h"
#include "trainer/metrics.h"
#include "trainer/model_source.h"
#include "trainer/plan_steps.h"
#include "trainer/progress.h"

namespace weft {
namespace {

constexpr char kMetricsFile[] = "metrics.jsonl";
constexpr char kValidation[] = "validation.";
constexpr int64_t kMetricsLimitBytes = int64_t{4} << 30;

std::string size_line(const std::string& name, int64_t bytes) {
  return absl::StrFormat("  %-40s %12s\n", name, bytes_text(bytes));
}

std::string files_of(const Checkpoint& checkpoint) {
  std::map<std::string, int64_t> sizes;
  int64_t total = 0;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(checkpoint.store.folder(), gone)) {
    const auto size = static_cast<int64_t>(entry.file_size(gone));
    sizes[entry.path().filename().string()] = size;
    total += size;
  }
  std::string text = "files, every checksum agrees:\n";
  for (const auto& [name, size] : sizes) text += size_line(name, size);
  return text + size_line("total", total);
}

std::string describe(const Checkpoint& checkpoint, const Recipe& recipe) {
  const TrainingState& state = checkpoint.state;
  return absl::StrCat(checkpoint.store.folder().string(), ": update ", state.step, " of ",
                      total_steps(recipe), ", ", count_text(static_cast<double>(state.tokens)),
                      " tokens, ", state.skipped, state.skipped == 1 ? " update" : " updates",
                      " skipped, ", state.threads, state.threads == 1 ? " thread" : " threads",
                      "\n", files_of(checkpoint));
}

// The run directory that `path` is, or that the checkpoint at `path` lies in; empty if none.
fs::path run_of(const fs::path& path) {
  std::error_code error;
  const fs::path whole = fs::canonical(path, error);
  if (error) return {};
  for (const fs::path& place : {whole, whole.parent_path(), whole.parent_path().parent_path()}) {
    const bool is_run =
        fs::exists(place / kMetricsFile, error) ||
        (fs::exists(place / kRecipeFile, error) && fs::is_directory(place / "checkpoints", error));
    if (is_run) return place;
  }
  return {};
}

struct Found {
  std::optional<Checkpoint> checkpoint;
  std::string recipe;       // text
  std::string recipe_name;  // for messages
};

absl::StatusOr<Found> find(const fs::path& path, Log& log) {
  std::error_code error;
  Found found;
  const bool is_run =
      fs::exists(path / kRecipeFile, error) && !fs::exists(path / "manifest.json", error);
  if (is_run) {
    WEFT_ASSIGN_OR_RETURN(found.checkpoint,
                          CheckpointFolder(path / "checkpoints").find_latest(log));
  } else {
    WEFT_ASSIGN_OR_RETURN(found.checkpoint, CheckpointFolder::open(path, log));
  }
  if (found.checkpoint.has_value()) {
    const TensorStore& store = found.checkpoint->store;
    found.recipe_name = (store.folder() / kRecipeFile).string();
    WEFT_ASSIGN_OR_RETURN(found.recipe, store.text(kRecipeFile));
  } else {
    constexpr int64_t kLimitBytes = 1 << 20;
    found.recipe_name = (path / kRecipeFile).string();
    WEFT_ASSIGN_OR_RETURN(found.recipe, read_file(path / kRecipeFile, kLimitBytes));
  }
  return found;
}

bool is_recipe(const fs::path& path) {
  return path.extension() == ".yaml" || path.extension() == ".yml";
}

// The numbers of a metrics line; empty for what is no JSON object.
MetricsRow row_of(const std::string& line) {
  const auto json = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  MetricsRow row;
  if (!json.is_object()) return row;
  for (const auto& [name, value] : json.items()) {
    if (value.is_number_integer()) {
      row.add(name, value.get<int64_t>());
    } else if (value.is_number()) {
      row.add(name, value.get<double>());
    }
  }
  return row;
}

}  // namespace

std::string describe_metrics(const std::string& lines) {
  std::string training;
  // By the name of the first figure, which has the source in it.
  std::vector<std::pair<std::string, std::string>> validation;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(lines, '\n'))) {
    const MetricsRow row = row_of(line);
    const auto first = std::find_if(row.values.begin(), row.values.end(), [](const auto& entry) {
      return entry.first.starts_with(kValidation);
    });
    if (row.values.empty()) continue;
    if (first == row.values.end()) {
      training = record_line(row);
      continue;
    }
    std::erase_if(validation, [&](const auto& entry) { return entry.first == first->first; });
    validation.emplace_back(first->first, record_line(row));
  }
  std::string text;
  if (!training.empty()) absl::StrAppend(&text, "last metrics:\n  ", training, "\n");
  if (!validation.empty()) text += "last validation:\n";
  for (const auto& [name, record] : validation) absl::StrAppend(&text, "  ", record, "\n");
  return text;
}

absl::StatusOr<std::string> describe_state(const fs::path& path, int64_t context, Log& log) {
  if (is_recipe(path)) {
    WEFT_ASSIGN_OR_RETURN(const LoadedRecipe loaded, load_recipe(path, {}, Purpose::kValidate));
    return describe_state(loaded.recipe.model, context);
  }
  if (is_hf_folder(path) || is_imported(path)) {
    WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::open(path, log));
    return describe_state(source.model(), context);
  }
  WEFT_ASSIGN_OR_RETURN(const Found found, find(path, log));
  WEFT_ASSIGN_OR_RETURN(const Recipe recipe, parse_recipe(found.recipe, found.recipe_name));
  return describe_state(recipe.model, context);
}

absl::StatusOr<std::string> describe_run(const fs::path& path, Log& log) {
  if (is_recipe(path)) {
    WEFT_ASSIGN_OR_RETURN(const LoadedRecipe loaded, load_recipe(path, {}, Purpose::kValidate));
    return describe_plan(loaded.recipe);
  }
  if (is_hf_folder(path) || is_imported(path)) {
    WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::open(path, log));
    return describe_model(path.string(), source.model());
  }
  WEFT_ASSIGN_OR_RETURN(const Found found, find(path, log));
  WEFT_ASSIGN_OR_RETURN(const Recipe recipe, parse_recipe(found.recipe, found.recipe_name));
  std::string text = found.checkpoint.has_value()
                         ? describe(*found.checkpoint, recipe)
                         : absl::StrCat(path.string(), ": no checkpoint yet\n");
  absl::StrAppend(&text, "\n", describe_plan(recipe));
  const fs::path metrics = run_of(path) / kMetricsFile;
  std::error_code error;
  if (metrics.has_parent_path() && fs::exists(metrics, error)) {
    WEFT_ASSIGN_OR_RETURN(const std::string lines, read_file(metrics, kMetricsLimitBytes));
    if (const std::string figures = describe_metrics(lines); !figures.empty()) {
      absl::StrAppend(&text, "\n", figures);
    }
  }
  return text;
}

}  // namespace weft
