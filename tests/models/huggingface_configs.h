#pragma once
// config.json of the committed fixtures, changed, read and refused.
#include <string>

#include <gtest/gtest.h>

#include "models/families.h"
#include "models/huggingface/config.h"
#include "tests/support/process.h"

namespace weft {

inline constexpr const char* kHfFamilies[] = {"gpt2",   "jamba",   "llama",  "mamba",
                                              "mamba2", "mixtral", "openelm"};

// The committed checkpoint of a family.
inline fs::path fixture_folder(const std::string& family) {
  return fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
}
inline Json fixture_config(const std::string& family) {
  return Json::parse(contents(fixture_folder(family) / "config.json"));
}

inline HfConfig read_config(const Json& json) {
  absl::StatusOr<HfConfig> config = read_hf_config(json.dump(), "config.json");
  WEFT_CHECK(config.ok(), config.status());
  return *std::move(config);
}

inline ModelConfig built(const Json& json) { return build_config(read_config(json).model); }

// The message that refuses a text, without the file's name in each line; empty if it is accepted.
inline std::string refusal(const std::string& text) {
  const absl::Status status = read_hf_config(text, "config.json").status();
  EXPECT_EQ(exit_status(status), status.ok() ? 0 : 2) << text;
  std::string message(status.message());
  const std::string name = "config.json: ";
  for (size_t at = 0; at < message.size();) {
    EXPECT_EQ(message.substr(at, name.size()), name);
    message.erase(at, name.size());
    const size_t end = message.find('\n', at);
    at = end == std::string::npos ? message.size() : end + 1;
  }
  return message;
}

// A family's fixture with other members.
inline Json changed(const std::string& family, const Json& members) {
  Json json = fixture_config(family);
  for (const auto& [name, value] : members.items()) json[name] = value;
  return json;
}
inline std::string refusal(const std::string& family, const Json& members) {
  return refusal(changed(family, members).dump());
}

// All members that have no default.
inline Json smallest(const std::string& family) {
  if (family == "gpt2") {
    return {
        {"model_type", family}, {"vocab_size", 10}, {"n_embd", 16}, {"n_layer", 1}, {"n_head", 2}};
  }
  if (family == "openelm") {
    return {{"model_type", family},        {"vocab_size", 10},       {"model_dim", 64},
            {"num_transformer_layers", 2}, {"qkv_multipliers", 1.0}, {"ffn_multipliers", 4.0}};
  }
  Json json = {{"model_type", family},
               {"vocab_size", 10},
               {"hidden_size", family == "mamba2" ? 4096 : 16},
               {"num_hidden_layers", 1}};
  if (family == "mamba" || family == "mamba2") return json;
  json["intermediate_size"] = 24;
  json["num_attention_heads"] = family == "llama" ? 2 : 8;
  return json;
}

inline const AttentionConfig& attention(const ModelConfig& config, size_t layer = 0) {
  return std::get<AttentionConfig>(config.layers.at(layer).mixer);
}

}  // namespace weft
