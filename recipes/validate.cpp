#include "recipes/validate.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "models/causal_lm.h"

namespace weft {
namespace {

using IsBroken = std::function<bool(const std::string&)>;

// Updates of a whole run: what counters in file names and metrics are made for.
constexpr int64_t kMaxTotalSteps = (int64_t{1} << 31) - 1;
constexpr double kMaxParameters = 1e15;
constexpr size_t kMaxNameBytes = 200;  // a file name has at most 255

// The largest number of whole sequences that divides `sequences` and has at most
// kAutoMicroBatchTokens tokens, but at least one.
int64_t auto_micro_sequences(int64_t sequences, int64_t sequence_length) {
  int64_t rows = std::min(sequences, std::max<int64_t>(1, kAutoMicroBatchTokens / sequence_length));
  while (sequences % rows != 0) --rows;
  return rows;
}

void resolve_stage(StageConfig& stage) {
  const int64_t sequences =
      stage.sequence_length > 0 ? stage.batch_tokens / stage.sequence_length : 0;
  if (stage.micro_batch_tokens.has_value() || sequences == 0) return;
  stage.micro_batch_tokens.value =
      auto_micro_sequences(sequences, stage.sequence_length) * stage.sequence_length;
}

// Why `name` cannot be the name of a folder, or "".
std::string refuse_folder_name(const std::string& name) {
  const bool control = std::any_of(name.begin(), name.end(), [](char c) {
    return std::iscntrl(static_cast<unsigned char>(c)) != 0;
  });
  if (name.find('/') != std::string::npos) return "has a '/', must be a plain folder name";
  if (name == "." || name == "..") return "must be a plain folder name, not '" + name + "'";
  if (control) return "has a control character, must be a plain folder name";
  if (name.size() > kMaxNameBytes) {
    return absl::StrCat("has ", name.size(), " bytes, must have at most ", kMaxNameBytes);
  }
  return "";
}

bool is_metric_name(const std::string& name) {
  return std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
  });
}

void check_lengths(const StageConfig& stage, Problems& problems) {
  const int64_t length = stage.sequence_length;
  if (stage.batch_tokens % length != 0 || stage.batch_tokens < length) {
    problems.add("batch_tokens",
                 absl::StrCat("is ", stage.batch_tokens,
                              ", must be a multiple of sequence_length (", length, ")"));
    return;
  }
  if (!stage.micro_batch_tokens.has_value()) return;
  const int64_t micro = *stage.micro_batch_tokens;
  if (micro % length != 0) {
    problems.add(
        "micro_batch_tokens",
        absl::StrCat("is ", micro, ", must be a multiple of sequence_length (", length, ")"));
  } else if (micro > stage.batch_tokens) {
    problems.add(
        "micro_batch_tokens",
        absl::StrCat("is ", micro, ", must be at most batch_tokens (", stage.batch_tokens, ")"));
  }
}

void check_stage(const StageConfig& stage, const std::string& path, const IsBroken& is_broken,
                 Problems& problems) {
  const auto broken = [&](const char* key) { return is_broken(path + "." + key); };
  if (!broken("sequence_length") && !broken("batch_tokens") && !broken("micro_batch_tokens")) {
    check_lengths(stage, problems);
  }
  if (!broken("schedule") && !broken("steps")) {
    const auto scope = problems.enter("schedule");
    validate(stage.schedule, stage.steps, problems);
  }
  if (!broken("data")) {
    const auto scope = problems.enter("data");
    validate(stage.data, problems);
    for (size_t i = 0; i < stage.data.validation.size(); ++i) {
      const std::string& name = stage.data.validation[i].name;
      if (is_metric_name(name)) continue;
      const auto inner = problems.enter("validation", i);
      problems.add("name",
                   "is '" + name + "', must be letters, digits, '_' and '-' (it names metrics)");
    }
  }
}

void check_stages(const std::vector<StageConfig>& stages, const IsBroken& is_broken,
                  Problems& problems) {
  std::map<std::string, size_t> first_of;
  int64_t total = 0;
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string path = absl::StrCat("stages.", i);
    const auto scope = problems.enter("stages", i);
    check_stage(stages[i], path, is_broken, problems);
    const auto [first, is_new] = first_of.try_emplace(stages[i].name, i);
    if (!is_new && !is_broken(path + ".name")) {
      problems.add("name", absl::StrCat("is '", stages[i].name, "', as is that of stages.",
                                        first->second, "; each stage needs its own"));
    }
    if (is_broken(path + ".steps")) continue;
    total += std::min(stages[i].steps, kMaxTotalSteps + 1);
    if (total <= kMaxTotalSteps) continue;
    problems.add("steps", absl::StrCat("is ", stages[i].steps,
                                       ", must keep the sum over stages below 2^31"));
    break;
  }
}

std::string words_of(const TokenizerConfig& tokenizer) {
  const std::string kind = name_of(tokenizer.kind);
  if (tokenizer.kind == TokenizerKind::kBytes) return kind;
  return absl::StrCat(kind, " with end_id ", tokenizer.end_id);
}

// A run has one tokenizer: its checkpoints store it, and texts and ends of documents are made by
// it.
void check_tokenizers(const std::vector<StageConfig>& stages, const IsBroken& is_broken,
                      Problems& problems) {
  const auto broken = [&](size_t i) { return is_broken(absl::StrCat("stages.", i, ".data")); };
  for (size_t i = 1; i < stages.size() && !broken(0); ++i) {
    const TokenizerConfig& first = stages[0].data.tokenizer;
    const TokenizerConfig& here = stages[i].data.tokenizer;
    if (broken(i) || words_of(here) == words_of(first)) continue;
    const auto scope = problems.enter("stages", i);
    problems.add("data.tokenizer", absl::StrCat("is ", words_of(here), ", must be ",
                                                words_of(first), ", as is that of stages.0"));
  }
}

// The vocabulary is a property of the tokenizer, and every stage must use one that fits the model.
void check_vocabulary(const Recipe& recipe, Problems& problems) {
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const int64_t needed = Tokenizer(recipe.stages[i].data.tokenizer).vocab_size();
    if (*recipe.model.vocab_size >= needed) continue;
    problems.add("model.vocab_size",
                 absl::StrCat("is ", *recipe.model.vocab_size, ", must be at least ", needed,
                              ", the vocabulary of stages.", i, ".data.tokenizer"));
    return;
  }
}

void check_positions(const Recipe& recipe, Problems& problems) {
  if (!*recipe.model.learned_positions) return;
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const int64_t length = recipe.stages[i].sequence_length;
    if (length <= *recipe.model.max_position) continue;
    problems.add("model.max_position",
                 absl::StrCat("is ", *recipe.model.max_position, ", must be at least stages.", i,
                              ".sequence_length (", length, "): positions are learned"));
    return;
  }
}

// Products of sizes that are each allowed can pass int64; nothing counts elements before this
// check.
void check_size(const ModelRecipe& model, Problems& problems) {
  double parameters = 0;
  const ParameterTable table = parameter_table(build_config(model));
  for (const ParameterSpec& spec : table.rows()) {
    double elements = 1;
    for (const int64_t size : spec.shape) elements *= static_cast<double>(size);
    parameters += elements;
  }
  if (parameters <= kMaxParameters) return;
  problems.add("", absl::StrFormat("has %.3g parameters, must have at most %.0e", parameters,
                                   kMaxParameters));
}

void check_model(const Recipe& recipe, bool stages_are_broken, Problems& problems) {
  Problems own;
  {
    const auto scope = own.enter("model");
    validate(recipe.model, own);
    if (!own.has_errors()) check_size(recipe.model, own);
  }
  for (const Problems::Problem& problem : own.all()) problems.add(problem.path, problem.message);
  if (stages_are_broken) return;
  check_vocabulary(recipe, problems);
  check_positions(recipe, problems);
}

}  // namespace

void validate_autos(const Recipe& recipe, Problems& problems) {
  if (recipe.model.vocab_size.has_value()) return;
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    if (Tokenizer(recipe.stages[i].data.tokenizer).reads_text()) continue;
    problems.add("model.vocab_size",
                 absl::StrCat("is auto, must be an integer: stages.", i,
                              ".data.tokenizer is of kind ids and has no vocabulary of its own"));
    return;
  }
}

void resolve(Recipe& recipe) {
  int64_t vocab = 1, longest = 1;
  for (StageConfig& stage : recipe.stages) {
    resolve_stage(stage);
    vocab = std::max(vocab, Tokenizer(stage.data.tokenizer).vocab_size());
    longest = std::max(longest, stage.sequence_length);
  }
  if (!recipe.model.max_position.has_value()) recipe.model.max_position.value = longest;
  if (!recipe.model.vocab_size.has_value()) recipe.model.vocab_size.value = vocab;
  resolve(recipe.model);
}

void validate(const Recipe& recipe, const IsBroken& is_broken, Problems& problems) {
  if (!is_broken("name")) {
    const std::string refused = refuse_folder_name(recipe.name);
    if (!refused.empty()) problems.add("name", refused);
  }
  if (!is_broken("model")) check_model(recipe, is_broken("stages"), problems);
  check_stages(recipe.stages, is_broken, problems);
  check_tokenizers(recipe.stages, is_broken, problems);
  if (!is_broken("memory") && recipe.memory.offload &&
      recipe.memory.recompute != Recompute::kBlock) {
    problems.add(
        "memory.offload",
        "is true, which takes what recompute: block keeps of layers out of a GPU's memory; "
        "recompute must be block");
  }
  if (!is_broken("optim")) {
    const auto scope = problems.enter("optim");
    validate(recipe.optim, problems);
  }
}

}  // namespace weft
