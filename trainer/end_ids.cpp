#include "trainer/end_ids.h"

#include <string>

#include "data/tokenizers/tokenizer.h"

namespace weft {
namespace {

constexpr JsonLimits kGenerationLimits = {.depth = 16, .values = 1 << 20};

// eos_token_id of a config. An id below 0 is none: no model ever draws it.
absl::StatusOr<std::vector<int64_t>> end_ids_in(const Json& config, const std::string& file) {
  std::vector<int64_t> ids;
  if (!config.is_object() || !config.contains("eos_token_id")) return ids;
  const Json& value = config["eos_token_id"];
  if (value.is_null()) return ids;
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer()) {
      return bad_input(file, ": eos_token_id: is ", value.dump(),
                       ", must be a token id or a list of them");
    }
    if (const std::optional<int64_t> token = as_count(id)) ids.push_back(*token);
  }
  return ids;
}

}  // namespace

std::optional<int64_t> document_end(const ModelSource& source) {
  if (source.recipe() == nullptr) return std::nullopt;
  WEFT_CHECK(!source.recipe()->stages.empty(), "a recipe that was read has stages");
  return Tokenizer(source.recipe()->stages[0].data.tokenizer).end_of_document();
}

absl::StatusOr<std::vector<int64_t>> published_end_ids(const ModelSource& source) {
  const std::string name = "generation_config.json";
  WEFT_ASSIGN_OR_RETURN(const std::optional<std::string> text, source.companion(name));
  if (text.has_value()) {
    const std::string file = source.companion_file(name).string();
    const absl::StatusOr<Json> config = parse_json(*text, kGenerationLimits);
    if (!config.ok()) return in_context(config.status(), file);
    WEFT_ASSIGN_OR_RETURN(std::vector<int64_t> ids, end_ids_in(*config, file));
    if (!ids.empty()) return ids;
  }
  return end_ids_in(source.hf_config(), source.companion_file("config.json").string());
}

absl::StatusOr<std::vector<int64_t>> end_ids_of(const ModelSource& source) {
  const std::optional<int64_t> end = document_end(source);
  if (end.has_value()) return std::vector<int64_t>{*end};
  return published_end_ids(source);
}

}  // namespace weft
