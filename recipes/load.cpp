#include "recipes/load.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "recipes/complaints.h"
#include "recipes/environment.h"
#include "recipes/layering.h"
#include "recipes/reader.h"
#include "recipes/stored_model.h"
#include "recipes/validate.h"

namespace weft {
namespace {

using Severity = Problems::Severity;

absl::Status all_errors(const Complaints& complaints) {
  return bad_input(absl::StrJoin(complaints.lines(Severity::kError), "\n"));
}

// The recipe as it is written.
Recipe read_fields(const YamlNode& root, ReadLog& log) {
  Recipe recipe;
  log.places.set("", root.place);
  read_map(root, "", recipe, log);
  return recipe;
}

bool has_model(const YamlNode& root) { return root.find("model") != nullptr; }

void complain_of_no_model(const YamlNode& root, ReadLog& log) {
  log.complaints.add(root.place, "model",
                     "is missing, needs " + allowed_words<ModelRecipe>(required()));
}

enum class Model { kKnown, kUnknown };

// Resolves the recipe, with every check that needs neither files nor the machine.
void check_recipe(Recipe& recipe, Model model, ReadLog& log) {
  const auto is_broken = [&](const std::string& path) {
    return log.complaints.has_errors_under(path) || (path == "model" && model == Model::kUnknown);
  };
  Problems problems;
  if (!is_broken("model")) validate_autos(recipe, problems);
  resolve(recipe);
  validate(recipe, is_broken, problems);
  log.complaints.add(problems, log.places);
}

// What init.path says of the model.
struct Start {
  Model model = Model::kUnknown;      // whether recipe.model is one, written or found
  std::optional<ModelRecipe> source;  // the model at init.path, where it was looked at
};

// Fills recipe.model where it is not written. REQUIRES: `init` could be read.
Start find_start(const YamlNode& root, Purpose purpose, const ResumedModel& resumed, Recipe& recipe,
                 ReadLog& log) {
  const bool written = has_model(root);
  Start start{.model = written ? Model::kKnown : Model::kUnknown, .source = {}};
  if (recipe.init.from == InitFrom::kRandom) {
    if (!written) complain_of_no_model(root, log);
    return start;
  }
  std::optional<ModelRecipe> found = resumed ? resumed(recipe) : std::nullopt;
  if (!found.has_value()) {
    Problems problems;
    const Need need = written && purpose == Purpose::kValidate ? Need::kIfPresent : Need::kRequired;
    found = start.source = model_to_start_from(recipe.init, need, problems);
    log.complaints.add(problems, log.places);
  }
  if (!found.has_value()) return start;
  start.model = Model::kKnown;
  if (!written) recipe.model = *std::move(found);
  return start;
}

// A model that is written must have the tensors of the one at init.path.
void check_tensors(const Recipe& recipe, const ModelRecipe& source, ReadLog& log) {
  const std::string unlike = unlike_tensors(recipe.model, source);
  if (unlike.empty()) return;
  log.complaints.add(log.places.find("model"), "model",
                     absl::StrCat("must have the tensors of '", recipe.init.path, "': ", unlike));
}

}  // namespace

absl::StatusOr<LoadedRecipe> load_recipe(const fs::path& path, const std::vector<std::string>& sets,
                                         Purpose purpose, const ResumedModel& resumed) {
  ReadLog log;
  YamlNode root = read_layers(path, log.complaints);
  if (root.kind != YamlNode::Kind::kMap) return all_errors(log.complaints);
  for (const std::string& set : sets) apply_set(set, root, log.complaints);
  LoadedRecipe loaded;
  loaded.recipe = read_fields(root, log);
  Start start;
  if (!log.complaints.has_errors_under("init")) {
    start = find_start(root, purpose, resumed, loaded.recipe, log);
  } else if (has_model(root)) {
    start.model = Model::kKnown;
  }
  check_recipe(loaded.recipe, start.model, log);
  if (start.source.has_value() && !log.complaints.has_errors_under("model")) {
    check_tensors(loaded.recipe, *start.source, log);
  }
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
  Recipe recipe = read_fields(root, log);
  if (!has_model(root)) complain_of_no_model(root, log);
  check_recipe(recipe, Model::kKnown, log);
  if (log.complaints.has_errors()) return all_errors(log.complaints);
  return recipe;
}

}  // namespace weft
