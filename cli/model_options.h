#pragma once
// The options that every command with a checkpoint shares.
#include <map>
#include <string>

#include <CLI/CLI.hpp>

#include "recipes/recipe.h"

namespace weft {

struct ModelOptions {
  std::string checkpoint;
  DeviceKind device = DeviceKind::kAuto;
  ComputeKind compute = ComputeKind::kAuto;
};

template <NamedEnum E>
std::map<std::string, E> words_of(E any_value) {
  std::map<std::string, E> words;
  for (const auto& entry : enum_names(any_value)) words[entry.name] = entry.value;
  return words;
}

inline void add_model_options(CLI::App& command, ModelOptions& options) {
  command
      .add_option("checkpoint", options.checkpoint,
                  "a checkpoint's folder, a run directory or a Hugging Face folder")
      ->required();
  command.add_option("--device", options.device, "auto, cpu or cuda")
      ->transform(CLI::CheckedTransformer(words_of(DeviceKind::kAuto)));
  command.add_option("--compute", options.compute, "auto, bf16, fp32 or fp64")
      ->transform(CLI::CheckedTransformer(words_of(ComputeKind::kAuto)));
}

}  // namespace weft
