#pragma once
// A model with its weights in memory, ready to evaluate, generate or be looked into.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "data/tokenizers/tokenizer.h"
#include "models/causal_lm.h"
#include "recipes/recipe.h"
#include "trainer/runtime.h"

namespace weft {

struct LoadedModel {
  ModelRecipe recipe;
  Runtime runtime;
  bool of_run;              // a run has trained it: its recipe says how long its sequences are
  std::string path;         // the checkpoint's folder
  int64_t sequence_length;  // tokens that it was trained on, or made for
  // Empty for what came from Hugging Face, as weft does not read `tokenizer_file`, and for what was
  // trained on token ids.
  std::optional<Tokenizer> tokenizer;
  std::string tokenizer_file;
  // The ids that end a text: of a run, what ends its documents; of a model from Hugging Face, in
  // the order of the file, eos_token_id of generation_config.json, or where that has none, of
  // config.json. Bad input: generation_config.json is not JSON, eos_token_id neither a token id nor
  // a list of them. Only what ends a text by itself needs them.
  absl::StatusOr<std::vector<int64_t>> end_ids;
  std::unique_ptr<ParameterTable> table;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<CausalLM> model;

  // The tokenizer, or bad input that says that there is none, or which file it would have to be
  // read from.
  absl::StatusOr<Tokenizer> need_tokenizer() const;
};

// `path`: what ModelSource::open takes. `device` and `compute` replace those of a run's recipe
// unless they are auto. Bad input: what ModelSource::open refuses; a device or a number type that
// this machine lacks; more weights than it has memory. Without gradients a parameter takes the
// memory of its compute value alone.
absl::StatusOr<LoadedModel> load_model(const std::string& path, DeviceKind device,
                                       ComputeKind compute, Log& log,
                                       Gradients gradients = Gradients::kNone);

}  // namespace weft
