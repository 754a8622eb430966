#pragma once
// The options that every command with a checkpoint shares.
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "recipes/recipe.h"

namespace weft {

struct ModelOptions {
  std::string checkpoint;
  DeviceKind device = DeviceKind::kAuto;
  ComputeKind compute = ComputeKind::kAuto;
};

// An option whose value is one of an enum's words; `value` is its default.
template <NamedEnum E>
void add_word_option(CLI::App& command, const char* name, E& value, const std::string& doc) {
  std::vector<std::string> words;
  for (const auto& entry : enum_names(E{})) words.emplace_back(entry.name);
  const auto store = [&value](const std::string& word) {
    for (const auto& entry : enum_names(E{})) {
      if (word == entry.name) value = entry.value;
    }
  };
  command.add_option_function<std::string>(name, store, doc + "; default " + name_of(value))
      ->check(CLI::IsMember(words));
}

inline void add_model_options(CLI::App& command, ModelOptions& options) {
  command
      .add_option("checkpoint", options.checkpoint,
                  "a checkpoint's folder, a run directory or a Hugging Face folder")
      ->required();
  add_word_option(command, "--device", options.device,
                  "where to compute; auto: as in training, or on the GPU if there is one");
  add_word_option(command, "--compute", options.compute,
                  "number type; auto: as in training, or bf16 if the machine has units for it");
}

}  // namespace weft
