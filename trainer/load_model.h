#pragma once
// A trained model from a checkpoint, ready to evaluate or generate.
#include <memory>
#include <string>

#include "base/log.h"
#include "base/status.h"
#include "data/tokenizers/tokenizer.h"
#include "models/causal_lm.h"
#include "recipes/recipe.h"
#include "trainer/runtime.h"

namespace weft {

struct LoadedModel {
  Recipe recipe;
  Runtime runtime;
  int64_t step;      // updates done
  std::string path;  // the checkpoint's folder
  Tokenizer tokenizer;
  std::unique_ptr<ParameterTable> table;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<CausalLM> model;

  // Tokens of the longest sequence it was trained on.
  int64_t sequence_length() const;
};

// `path`: a checkpoint's folder, or a run directory (its latest valid checkpoint). `device` and
// `compute` replace those of the recipe unless they are auto.
absl::StatusOr<LoadedModel> load_model(const std::string& path, DeviceKind device,
                                       ComputeKind compute, Log& log);

}  // namespace weft
