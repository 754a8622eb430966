#pragma once
// A recipe from its layers: the file, the files that it extends, and --set over all. Maps merge,
// lists and plain values replace, and a key without a value removes the one beneath it.
#include <string>
#include <vector>

#include "base/file.h"
#include "recipes/complaints.h"
#include "recipes/yaml_tree.h"

namespace weft {

inline constexpr int64_t kMaxRecipeBytes = 1 << 20;
inline constexpr size_t kMaxExtends = 16;  // files in a chain

// The merged tree of `path` and the files that it extends; the paths in `extends` are relative to
// the folder of the file that says so. Every key keeps the place where it was written.
YamlNode read_layers(const fs::path& path, Complaints& complaints);

// Puts "stages.0.steps=50" into the tree: keys and list indices joined by dots, then YAML.
void apply_set(const std::string& set, YamlNode& root, Complaints& complaints);

}  // namespace weft
