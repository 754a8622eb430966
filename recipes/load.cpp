#include "recipes/load.h"

#include "absl/strings/str_join.h"

#include "recipes/complaints.h"
#include "recipes/environment.h"
#include "recipes/layering.h"
#include "recipes/reader.h"
#include "recipes/validate.h"

namespace weft {
namespace {

using Severity = Problems::Severity;

absl::Status all_errors(const Complaints& complaints) {
  return bad_input(absl::StrJoin(complaints.lines(Severity::kError), "\n"));
}

// Tree to resolved recipe, with every check that needs neither files nor the machine.
Recipe read_recipe(const YamlNode& root, ReadLog& log) {
  Recipe recipe;
  log.places.set("", root.place);
  read_map(root, "", recipe, log);
  resolve(recipe);
  Problems problems;
  validate(
      recipe, [&](const std::string& path) { return log.complaints.has_errors_under(path); },
      problems);
  log.complaints.add(problems, log.places);
  return recipe;
}

}  // namespace

absl::StatusOr<LoadedRecipe> load_recipe(const fs::path& path, const std::vector<std::string>& sets,
                                         Purpose purpose) {
  ReadLog log;
  YamlNode root = read_layers(path, log.complaints);
  if (root.kind != YamlNode::Kind::kMap) return all_errors(log.complaints);
  for (const std::string& set : sets) apply_set(set, root, log.complaints);
  LoadedRecipe loaded;
  loaded.recipe = read_recipe(root, log);
  Problems problems;
  check_environment(loaded.recipe, purpose, problems);
  if (!log.complaints.has_errors()) check_memory(loaded.recipe, purpose, problems);
  log.complaints.add(problems, log.places);
  if (log.complaints.has_errors()) return all_errors(log.complaints);
  loaded.warnings = log.complaints.lines(Severity::kWarning);
  return loaded;
}

absl::StatusOr<Recipe> parse_recipe(const std::string& text, const std::string& name) {
  ReadLog log;
  const YamlNode root = parse_yaml(text, name, Lines::kYes, log.complaints);
  if (log.complaints.has_errors()) return all_errors(log.complaints);
  Recipe recipe = read_recipe(root, log);
  if (log.complaints.has_errors()) return all_errors(log.complaints);
  return recipe;
}

}  // namespace weft
