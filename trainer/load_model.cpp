#include "trainer/load_model.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "models/families.h"
#include "recipes/available_memory.h"
#include "recipes/environment.h"
#include "trainer/end_ids.h"
#include "trainer/model_source.h"

namespace weft {
namespace {

absl::Status check_weights_fit(const std::string& path, int64_t needed, at::Device device,
                               Gradients gradients) {
  if (needed <= available_memory(device.type())) return absl::OkStatus();
  return bad_input(
      path, ": its weights", gradients == Gradients::kKept ? " and their gradients" : "", " need ",
      gib_text(static_cast<double>(needed)), " of memory, ", available_words(device.type()));
}

int64_t longest_sequence(const ModelSource& source) {
  if (source.recipe() == nullptr) return *source.model().max_position;
  int64_t longest = 1;
  for (const StageConfig& stage : source.recipe()->stages) {
    longest = std::max(longest, stage.sequence_length);
  }
  return longest;
}

}  // namespace

absl::StatusOr<Tokenizer> LoadedModel::need_tokenizer() const {
  if (tokenizer.has_value()) return *tokenizer;
  if (of_run) {
    return bad_input(path, ": was trained on token ids; give token ids instead of text");
  }
  return bad_input(path, ": its tokenizer, ", tokenizer_file,
                   ", is not one that weft reads; give token ids instead of text");
}

absl::StatusOr<LoadedModel> load_model(const std::string& path, DeviceKind device,
                                       ComputeKind compute, Log& log, Gradients gradients) {
  WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::open(path, log));
  Recipe recipe;
  if (source.recipe() != nullptr) recipe = *source.recipe();
  if (device != DeviceKind::kAuto) recipe.device = device;
  if (compute != ComputeKind::kAuto) recipe.precision.compute = compute;
  for (const auto& [key, message] : missing_units(recipe)) {
    return bad_input(key, ": ", message,
                     " (--device and --compute replace what it was trained with)");
  }
  const Runtime runtime = resolve_runtime(recipe);
  apply(runtime);
  const ModelConfig config = build_config(source.model());
  auto table = std::make_unique<ParameterTable>(parameter_table(config));
  WEFT_RETURN_IF_ERROR(check_weights_fit(path, store_bytes(*table, runtime.types, gradients),
                                         runtime.types.device, gradients));
  auto store = std::make_unique<ParameterStore>(*table, runtime.types, gradients);
  const at::NoGradGuard no_grad;
  for (Parameter& p : store->parameters()) {
    WEFT_RETURN_IF_ERROR(source.read(*p.spec, p.master.defined() ? p.master : p.compute));
    source.release(*p.spec);
  }
  store->refresh_compute();
  auto model = std::make_unique<CausalLM>(config, *store);
  std::optional<Tokenizer> tokenizer;
  if (!recipe.stages.empty()) tokenizer.emplace(recipe.stages[0].data.tokenizer);
  if (tokenizer.has_value() && !tokenizer->reads_text()) tokenizer.reset();
  return LoadedModel{.recipe = source.model(),
                     .runtime = runtime,
                     .of_run = source.recipe() != nullptr,
                     .path = source.folder().string(),
                     .sequence_length = longest_sequence(source),
                     .tokenizer = tokenizer,
                     .tokenizer_file = source.tokenizer_file(),
                     .end_ids = end_ids_of(source),
                     .table = std::move(table),
                     .store = std::move(store),
                     .model = std::move(model)};
}

}  // namespace weft
