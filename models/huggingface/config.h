#pragma once
// config.json of a Hugging Face checkpoint <-> the model part of a recipe (spec/models.md 12). Read
// first in this folder; then tensor_rules.h (names and layouts of tensors), folder.h (reading a
// checkpoint), export.h (writing one).
//
// A member of config.json is used, known to change nothing that weft computes, or refused by name:
// none is passed over because weft has never heard of it.
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "models/model_recipe.h"

namespace weft {

struct HfConfig {
  ModelRecipe model;                  // resolved
  Json json;                          // as read
  std::vector<std::string> warnings;  // what only training would notice, such as dropout
};

// `name` of the file, for messages. Bad input names every member that is missing, impossible or not
// supported; a number that no recipe may have, or that does not go with others, under its key in a
// recipe.
absl::StatusOr<HfConfig> read_hf_config(const std::string& text, const std::string& name);

// Whether transformers has a format for this model, and takes what stands in it; else why not.
absl::Status check_exportable(const ModelRecipe& model);

// config.json for a model. Where `source` (the one that it was read from, or null) says the same,
// it is returned as it is; else its members that weft does not use are kept. `dtype` is "float32",
// "bfloat16", "float16" or "float64". REQUIRES: check_exportable is ok.
Json write_hf_config(const ModelRecipe& model, const Json& source, const std::string& dtype);

// JSON whose text may hold the bare words Infinity, -Infinity and NaN, as Python writes them: each
// becomes {"__float__": word}, which is how transformers 5 writes them, and so does what is written
// from it.
absl::StatusOr<Json> parse_python_json(const std::string& text);

}  // namespace weft
