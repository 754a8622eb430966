#include "recipes/environment.h"

#include "absl/strings/str_format.h"
#include <ATen/Context.h>

#include "base/cpu_features.h"
#include "data/shards.h"
#include "models/huggingface/folder.h"
#include "recipes/available_memory.h"
#include "recipes/fit.h"
#include "recipes/plan.h"

namespace weft {
namespace {

using Report = void (*)(Problems&, const char* key, std::string message);

void as_error(Problems& problems, const char* key, std::string message) {
  problems.add(key, std::move(message));
}
void as_warning(Problems& problems, const char* key, std::string message) {
  problems.warn(key, std::move(message));
}

void check_files(const DataConfig& data, Report report, Problems& problems) {
  const bool needs_ids = !Tokenizer(data.tokenizer).reads_text();
  const auto check = [&](const char* list, size_t i, const std::string& path) {
    if (path.empty()) return;
    const auto scope = problems.enter(list, i);
    if (const std::string refused = check_source(path); !refused.empty()) {
      report(problems, "path", refused);
    } else if (needs_ids && is_text_source(path)) {
      problems.add("path", "'" + path +
                               "' is text, but tokenizer.kind ids needs the prefix of a .bin/.idx "
                               "pair");
    }
  };
  for (size_t i = 0; i < data.sources.size(); ++i) check("sources", i, data.sources[i].path);
  for (size_t i = 0; i < data.validation.size(); ++i) {
    check("validation", i, data.validation[i].path);
  }
}

// Why `path` cannot be what `from` says, though it exists; or "".
std::string refuse_kind(const StartConfig& init) {
  const bool published = is_hf_folder(init.path);
  if (init.from == InitFrom::kHuggingface && !published) {
    return "'" + init.path +
           "' is no Hugging Face folder (it needs config.json); a checkpoint of weft's goes with "
           "from: checkpoint";
  }
  if (init.from == InitFrom::kCheckpoint && published) {
    return "'" + init.path + "' is a Hugging Face folder, which goes with from: huggingface";
  }
  return "";
}

Report report_for(Purpose purpose) { return purpose == Purpose::kTrain ? as_error : as_warning; }

// Of the machine's device and units: where memory is given, another machine is meant.
Report report_units_for(const Use& use) {
  return use.memory.has_value() ? report_for(use.purpose) : as_error;
}

}  // namespace

bool runs_on_cuda(const Recipe& recipe) {
  return recipe.device == DeviceKind::kCuda ||
         (recipe.device == DeviceKind::kAuto && at::hasCUDA());
}

int compute_bytes(const Recipe& recipe) {
  switch (recipe.precision.compute) {
    case ComputeKind::kFp64:
      return 8;
    case ComputeKind::kFp32:
      return 4;
    case ComputeKind::kBf16:
      return 2;
    case ComputeKind::kAuto:
      break;
  }
  return runs_on_cuda(recipe) || has_bf16_units() ? 2 : 4;
}

std::vector<std::pair<const char*, std::string>> missing_units(const Recipe& recipe) {
  std::vector<std::pair<const char*, std::string>> missing;
  if (recipe.device == DeviceKind::kCuda && !at::hasCUDA()) {
    missing.emplace_back("device",
                         "is cuda, but there is no GPU that this program can use; cpu or auto "
                         "would run");
  }
  if (recipe.precision.compute == ComputeKind::kBf16 && !runs_on_cuda(recipe) &&
      !has_bf16_units()) {
    missing.emplace_back(
        "precision.compute",
        "is bf16, but this processor has no units for it (AVX-512 BF16 or AMX) and would be many "
        "times slower than with fp32; use fp32 or auto");
  }
  return missing;
}

std::optional<StoredModel> model_to_start_from(const StartConfig& init, Need need,
                                               Problems& problems) {
  std::error_code error;
  if (!fs::exists(init.path, error)) {
    const Report report = need == Need::kRequired ? as_error : as_warning;
    report(problems, "init.path", "'" + init.path + "' does not exist");
    return std::nullopt;
  }
  if (const std::string refused = refuse_kind(init); !refused.empty()) {
    problems.add("init.path", refused);
    return std::nullopt;
  }
  absl::StatusOr<StoredModel> stored = read_stored_model(init.path);
  if (!stored.ok()) {
    problems.add("init.path", std::string(stored.status().message()));
    return std::nullopt;
  }
  for (const std::string& warning : stored->warnings) problems.warn("init.path", warning);
  return *std::move(stored);
}

void check_environment(const Recipe& recipe, const Use& use, Problems& problems) {
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto scope = problems.enter("stages", i);
    const auto data = problems.enter("data");
    check_files(recipe.stages[i].data, report_for(use.purpose), problems);
  }
  for (auto& [key, message] : missing_units(recipe)) {
    report_units_for(use)(problems, key, std::move(message));
  }
  if (recipe.memory.offload && recipe.memory.recompute == Recompute::kBlock &&
      !runs_on_cuda(recipe)) {
    report_units_for(use)(problems, "memory.offload",
                          "is true, but this runs on the CPU, which keeps all in the host's memory "
                          "as it is");
  }
}

void check_memory(Recipe& recipe, const Use& use, Problems& problems) {
  const bool cuda = runs_on_cuda(recipe);
  if (cuda && !at::hasCUDA() && !use.memory.has_value()) return;
  const int width = compute_bytes(recipe);
  const Room room = use.memory.has_value() ? Room{.device = *use.memory} : room_here(recipe);
  const MiniSequences before = recipe.memory.mini_sequences;
  const MemoryPlan plan = fit_mini_sequences(recipe, width, room);
  if (!(recipe.memory.mini_sequences == before)) {
    problems.warn("memory.mini_sequences", "is auto, which is small here, for lack of memory");
  }
  if (fits(plan, room)) return;
  const std::string advice = fitting_words(recipe, width, room);
  if (plan.total() > room.device) {
    const std::string have =
        use.memory.has_value()
            ? absl::StrCat(gib_text(static_cast<double>(room.device)), " is given")
            : available_words(cuda ? at::kCUDA : at::kCPU);
    report_for(use.purpose)(
        problems, "model",
        absl::StrCat("training needs ", gib_text(static_cast<double>(plan.total())), " of memory, ",
                     have, "; ", advice));
    return;
  }
  report_for(use.purpose)(
      problems, "memory.offload",
      absl::StrCat("takes ", gib_text(static_cast<double>(plan.host)),
                   " of memory in the GPU's host, ", available_words(at::kCPU), "; ", advice));
}

}  // namespace weft
