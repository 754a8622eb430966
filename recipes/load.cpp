#include "recipes/load.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "recipes/complaints.h"
#include "recipes/environment.h"
#include "recipes/layering.h"
#include "recipes/reader.h"
#include "recipes/scalar.h"
#include "recipes/stored_model.h"
#include "recipes/validate.h"

namespace weft {
namespace {

using Severity = Problems::Severity;

absl::Status all_errors(const Complaints& complaints) {
  return bad_input(absl::StrJoin(complaints.lines(Severity::kError), "\n"));
}

// The recipe as it is written, but for its model, which read_model reads.
Recipe read_fields(const YamlNode& root, ReadLog& log) {
  Recipe recipe;
  log.places.set("", root.place);
  read_map(root, "", recipe, log);
  return recipe;
}

// Takes the model out of the recipe, if it is written.
std::optional<YamlEntry> take_model(YamlNode& root, ReadLog& log) {
  YamlEntry* found = root.find("model");
  if (found == nullptr) return std::nullopt;
  std::optional<YamlEntry> model = std::move(*found);
  root.entries.erase(root.entries.begin() + (found - root.entries.data()));
  log.places.set("model", model->value.place);
  return model;
}

void complain_of_no_model(ReadLog& log) {
  log.complaints.add(log.places.find(""), "model",
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

// What a model begins with, and whether it came to one.
struct Start {
  std::optional<ModelRecipe> found = {};   // the model at init.path, or of the run that goes on
  std::optional<StoredModel> source = {};  // what is at init.path, where it was looked at
  Model model = Model::kKnown;
};

// REQUIRES: `init` could be read, and is not random.
Start find_start(const Recipe& recipe, Need need, const ResumedModel& resumed, ReadLog& log) {
  Start start;
  if (resumed) start.found = resumed(recipe);
  if (start.found.has_value()) return start;
  Problems problems;
  start.source = model_to_start_from(recipe.init, need, problems);
  log.complaints.add(problems, log.places);
  if (start.source.has_value()) start.found = start.source->model;
  return start;
}

// The family that a written model is of, where it says so.
std::optional<Family> written_family(const YamlNode& model) {
  Family family{};
  const YamlEntry* entry = model.find("family");
  if (entry != nullptr && read_scalar(entry->value, any(), family).empty()) return family;
  if (entry == nullptr && model.find("layers") != nullptr) return Family::kLayers;
  return std::nullopt;
}

bool is_whole(const YamlNode& model) {
  ReadLog log;
  ModelRecipe read;
  read_map(model, "model.", read, log);
  return !log.complaints.has_errors();
}

// Keys that follow from others, where these changed and it is not the tensors that show it.
void forget_what_followed(const ModelRecipe& found, const YamlNode& written, ModelRecipe& model) {
  const auto is_written = [&](const char* map, const char* key) {
    const YamlEntry* entry = written.find(map);
    return entry != nullptr && entry->value.find(key) != nullptr;
  };
  RopeRecipe& rope = model.rope;
  const bool scaled_alike = rope.type == found.rope.type && rope.factor == found.rope.factor;
  if (!scaled_alike && !is_written("rope", "attention_factor")) rope.attention_factor = {};
  LayoutRecipe& layout = model.layout;
  const bool same_period = layout.window_period == found.layout.window_period;
  if (!same_period && !is_written("layout", "window_offset")) layout.window_offset = {};
}

// The written keys over the model that was found. That takes one family, and not a list of layers,
// each of which has its own values of the keys.
ModelRecipe read_over(const ModelRecipe& found, const YamlNode& written, ReadLog& log) {
  const bool lists_layers = found.family == Family::kLayers;
  const bool same_family = written_family(written).value_or(found.family) == found.family;
  const bool over = same_family && !lists_layers;
  const bool begun = written.kind == YamlNode::Kind::kMap && written.find("hidden_size") == nullptr;
  ModelRecipe model = over ? found : ModelRecipe{};
  read_map(written, "model.", model, log, over || begun ? Absent::kKept : Absent::kRefused);
  if (over) {
    forget_what_followed(found, written, model);
  } else if (begun) {
    log.complaints.add(log.places.find("model"), "model",
                       std::string("must be given whole: the one that it starts from ") +
                           (lists_layers ? "lists its layers"
                                         : std::string("is of family ") + name_of(found.family)));
  }
  return model;
}

// Reads a model that begins with random weights.
Start read_random(const std::optional<YamlEntry>& written, Recipe& recipe, ReadLog& log) {
  if (!written.has_value()) {
    complain_of_no_model(log);
    return {.model = Model::kUnknown};
  }
  read_map(written->value, "model.", recipe.model, log);
  return {};
}

// Fills recipe.model. REQUIRES: the rest of the recipe was read. Where `init` names no model, that
// is the complaint, and not what a written model leaves out.
Start read_model(const std::optional<YamlEntry>& written, Purpose purpose,
                 const ResumedModel& resumed, Recipe& recipe, ReadLog& log) {
  const bool init_is_read = !log.complaints.has_errors_under("init");
  if (init_is_read && recipe.init.from == InitFrom::kRandom) {
    return read_random(written, recipe, log);
  }
  const bool enough = written.has_value() && is_whole(written->value);
  Start start;
  if (init_is_read) {
    const bool optional = enough && purpose == Purpose::kValidate;
    start = find_start(recipe, optional ? Need::kIfPresent : Need::kRequired, resumed, log);
  }
  if (!start.found.has_value()) {
    if (!enough) start.model = Model::kUnknown;
    if (written.has_value()) {
      read_map(written->value, "model.", recipe.model, log, Absent::kKept);
    }
  } else if (written.has_value()) {
    recipe.model = read_over(*start.found, written->value, log);
  } else {
    recipe.model = *start.found;
  }
  return start;
}

// A model that is written must have the tensors of the one at init.path.
void check_tensors(const Recipe& recipe, const ModelRecipe& source, ReadLog& log) {
  const std::string unlike = unlike_tensors(recipe.model, source);
  if (unlike.empty()) return;
  log.complaints.add(log.places.find("model"), "model",
                     absl::StrCat("must have the tensors of '", recipe.init.path, "': ", unlike));
}

// Weights that somebody else's tokenizer made ids for make nothing of the bytes of a text.
void warn_of_text(const Recipe& recipe, const StoredModel& source, ReadLog& log) {
  const auto reads_text = [](const Recipe& r) {
    return !r.stages.empty() && Tokenizer(r.stages[0].data.tokenizer).reads_text();
  };
  const bool trained_on_text = source.recipe.has_value() && reads_text(*source.recipe);
  if (source.hf_config.is_null() || trained_on_text || !reads_text(recipe)) return;
  Problems problems;
  problems.warn("stages.0.data.tokenizer",
                "is of kind bytes, but the weights at '" + recipe.init.path +
                    "' come from Hugging Face and know the ids of their own tokenizer; data that "
                    "it made ids of go with kind: ids");
  log.complaints.add(problems, log.places);
}

}  // namespace

absl::StatusOr<LoadedRecipe> load_recipe(const fs::path& path, const std::vector<std::string>& sets,
                                         const Use& use, const ResumedModel& resumed) {
  ReadLog log;
  YamlNode root = read_layers(path, log.complaints);
  if (root.kind != YamlNode::Kind::kMap) return all_errors(log.complaints);
  for (const std::string& set : sets) apply_set(set, root, log.complaints);
  const std::optional<YamlEntry> written = take_model(root, log);
  LoadedRecipe loaded;
  loaded.recipe = read_fields(root, log);
  const Start start = read_model(written, use.purpose, resumed, loaded.recipe, log);
  check_recipe(loaded.recipe, start.model, log);
  if (start.source.has_value()) {
    if (!log.complaints.has_errors_under("model")) {
      check_tensors(loaded.recipe, start.source->model, log);
    }
    warn_of_text(loaded.recipe, *start.source, log);
  }
  Problems problems;
  check_environment(loaded.recipe, use, problems);
  if (!log.complaints.has_errors()) check_memory(loaded.recipe, use, problems);
  log.complaints.add(problems, log.places);
  if (log.complaints.has_errors()) return all_errors(log.complaints);
  loaded.warnings = log.complaints.lines(Severity::kWarning);
  return loaded;
}

absl::StatusOr<Recipe> parse_recipe(const std::string& text, const std::string& name) {
  ReadLog log;
  YamlNode root = parse_yaml(text, name, Lines::kYes, log.complaints);
  if (log.complaints.has_errors()) return all_errors(log.complaints);
  const std::optional<YamlEntry> model = take_model(root, log);
  Recipe recipe = read_fields(root, log);
  if (model.has_value()) {
    read_map(model->value, "model.", recipe.model, log);
  } else {
    complain_of_no_model(log);
  }
  check_recipe(recipe, Model::kKnown, log);
  if (log.complaints.has_errors()) return all_errors(log.complaints);
  return recipe;
}

}  // namespace weft
