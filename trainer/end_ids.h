#pragma once
// The token ids that end a text, as the place where a model stands knows them.
#include <cstdint>
#include <optional>
#include <vector>

#include "base/status.h"
#include "trainer/model_source.h"

namespace weft {

// What ends a document in the tokenizer of a run, which is one for all its stages. Empty where the
// source is no run's checkpoint.
std::optional<int64_t> document_end(const ModelSource& source);

// eos_token_id of the Hugging Face checkpoint that the source comes from, in the order of the file:
// that of generation_config.json, or where it has none, of config.json. Bad input: one that is
// neither a token id nor a list of them, or a generation_config.json that cannot be read.
absl::StatusOr<std::vector<int64_t>> published_end_ids(const ModelSource& source);

// document_end of a run, else published_end_ids.
absl::StatusOr<std::vector<int64_t>> end_ids_of(const ModelSource& source);

}  // namespace weft
