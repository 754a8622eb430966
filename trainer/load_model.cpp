#include "trainer/load_model.h"

#include <algorithm>

#include <ATen/Parallel.h>

#include "recipes/environment.h"
#include "recipes/load.h"
#include "trainer/checkpoint.h"

namespace weft {

int64_t LoadedModel::sequence_length() const {
  int64_t longest = 1;
  for (const StageConfig& stage : recipe.stages) longest = std::max(longest, stage.sequence_length);
  return longest;
}

absl::StatusOr<LoadedModel> load_model(const std::string& path, DeviceKind device,
                                       ComputeKind compute, Log& log) {
  WEFT_ASSIGN_OR_RETURN(const Checkpoint checkpoint, CheckpointFolder::open(path, log));
  WEFT_ASSIGN_OR_RETURN(const std::string text, checkpoint.store.text(kRecipeFile));
  WEFT_ASSIGN_OR_RETURN(Recipe recipe,
                        parse_recipe(text, (checkpoint.store.folder() / kRecipeFile).string()));
  if (device != DeviceKind::kAuto) recipe.device = device;
  if (compute != ComputeKind::kAuto) recipe.precision.compute = compute;
  for (const auto& [key, message] : missing_units(recipe)) {
    return bad_input(key, ": ", message,
                     " (--device and --compute replace what it was trained with)");
  }
  const Runtime runtime = resolve_runtime(recipe);
  at::set_num_threads(runtime.threads);
  const ModelConfig config = build_config(recipe.model);
  auto table = std::make_unique<ParameterTable>(parameter_table(config));
  auto store = std::make_unique<ParameterStore>(*table, runtime.types);
  for (Parameter& p : store->parameters()) {
    WEFT_RETURN_IF_ERROR(checkpoint.store.read(p.spec->name, p.master));
  }
  store->refresh_compute();
  auto model = std::make_unique<CausalLM>(config, *store);
  const Tokenizer tokenizer(recipe.stages[0].data.tokenizer);
  return LoadedModel{std::move(recipe),
                     runtime,
                     checkpoint.state.step,
                     checkpoint.store.folder().string(),
                     tokenizer,
                     std::move(table),
                     std::move(store),
                     std::move(model)};
}

}  // namespace weft
