#include "trainer/initial_weights.h"

#include <algorithm>
#include <system_error>

#include "recipes/load.h"
#include "recipes/stored_model.h"

namespace weft {
namespace {

void log_start(const ModelSource& source, const ModelRecipe& model, Log& log) {
  const std::string folder = source.folder().string();
  if (source.recipe() != nullptr) {
    log.info("starting from ", folder, ", update ", source.step());
  } else {
    log.info("starting from ", folder);
  }
  for (const std::string& difference : differences(source.model(), model)) {
    log.info("the model differs from the one it starts from: ", difference);
  }
}

// Also by way of links; true of the folder itself.
bool is_inside(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path inner = fs::weakly_canonical(fs::absolute(path, error), error);
  const fs::path outer = fs::weakly_canonical(fs::absolute(folder, error), error);
  const auto [end, rest] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return !outer.empty() && end == outer.end();
}

}  // namespace

absl::StatusOr<InitialWeights> open_initial_weights(const Recipe& recipe, const fs::path& run_dir,
                                                    Log& log) {
  InitialWeights weights;
  if (recipe.init.from == InitFrom::kRandom) return weights;
  if (is_inside(recipe.init.path, run_dir)) {
    return bad_input("init.path: '", recipe.init.path, "' lies in the run directory '",
                     run_dir.string(), "', which must be another one");
  }
  WEFT_ASSIGN_OR_RETURN(weights.source, ModelSource::open(recipe.init.path, log));
  const std::string unlike = unlike_tensors(recipe.model, weights.source->model());
  if (!unlike.empty()) {
    return bad_input("model: must have the tensors of '", recipe.init.path, "': ", unlike);
  }
  WEFT_ASSIGN_OR_RETURN(weights.published, weights.source->published());
  return weights;
}

absl::Status fill_with(const InitialWeights& weights, const Recipe& recipe, ParameterStore& store,
                       Log& log) {
  if (!weights.source.has_value()) {
    store.initialize(static_cast<uint64_t>(recipe.seed));
    return absl::OkStatus();
  }
  const ModelSource& source = *weights.source;
  for (Parameter& p : store.parameters()) {
    WEFT_RETURN_IF_ERROR(source.read(*p.spec, p.master));
    source.release(*p.spec);
  }
  store.refresh_compute();
  log_start(source, recipe.model, log);
  return absl::OkStatus();
}

}  // namespace weft
