#pragma once
// The data of a run, opened and checked before anything else starts.
#include <string>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "data/loader.h"
#include "recipes/recipe.h"

namespace weft {

struct ValidationData {
  std::string name;
  TokenShards shards;
};

struct StageData {
  std::vector<DataSource> sources;
  std::vector<ValidationData> validation;
};

// Opens the sources of every stage, tokenizing text into `cache` where that has not been done, with
// a progress bar through `log`. The first source that cannot be used is the error.
absl::StatusOr<std::vector<StageData>> open_data(const Recipe& recipe, const fs::path& cache,
                                                 Log& log);

// Folder of tokenized text and other things made once a machine: $WEFT_CACHE, else weft in
// $XDG_CACHE_HOME, else in ~/.cache, else .cache/weft here.
fs::path cache_folder();

}  // namespace weft
