#include "trainer/initial_weights.h"

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

}  // namespace

absl::StatusOr<InitialWeights> open_initial_weights(const Recipe& recipe, Log& log) {
  InitialWeights weights;
  if (recipe.init.from == InitFrom::kRandom) return weights;
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
