#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "trainer/evaluate.h"
#include "trainer/load_model.h"
#include "trainer/run_data.h"
#include "trainer/tasks.h"

namespace weft {
namespace {

struct EvalArguments {
  ModelOptions model;
  std::vector<std::string> paths;
  std::optional<int64_t> sequence_length;
  int64_t context = 0;
  std::optional<int64_t> end_id;
};

constexpr int64_t kTokensPerForward = 8192;
constexpr int64_t kUsualLength = 2048;

// A path, read and checked before anything is computed.
struct Input {
  std::string path;
  std::variant<TokenShards, std::vector<ChoiceItem>> data;
};

bool is_task(const std::string& path) { return path.ends_with(".jsonl"); }

// What can be seen without a model, so that a wrong name need not wait for one.
absl::Status check_paths(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (is_task(path)) {
      WEFT_RETURN_IF_ERROR(MappedFile::open(path).status());
    } else if (const std::string problem = check_source(path); !problem.empty()) {
      return bad_input(problem);
    }
  }
  return absl::OkStatus();
}

// Null where the model came without one.
const Tokenizer* tokenizer_of(const LoadedModel& loaded) {
  return loaded.tokenizer.has_value() ? &*loaded.tokenizer : nullptr;
}

absl::Status check_token(const char* name, int64_t id, const LoadedModel& loaded) {
  const int64_t vocab_size = loaded.model->config().vocab_size;
  if (id < vocab_size) return absl::OkStatus();
  return bad_input(name, ": is ", id, ", must be a token id from 0 to ", vocab_size - 1);
}

absl::Status check_end_id(std::optional<int64_t> end_id, const LoadedModel& loaded) {
  if (!end_id.has_value()) return absl::OkStatus();
  if (loaded.tokenizer.has_value()) {
    return bad_input(
        "--end-id: goes with a model whose tokenizer weft does not read; this one's "
        "tokenizer says what ends a document");
  }
  return check_token("--end-id", *end_id, loaded);
}

// The length of a window: what was asked for, or the usual one, with room for the context.
absl::StatusOr<int64_t> window_length(const EvalArguments& arguments, const LoadedModel& loaded) {
  // What a published model is made for can be more than the logits of one sequence have room for.
  const int64_t usual =
      loaded.of_run ? loaded.sequence_length : std::min(loaded.sequence_length, kUsualLength);
  const int64_t length = arguments.sequence_length.value_or(usual);
  if (arguments.context >= length) {
    return bad_input("--context: is ", arguments.context, ", must be below the sequence length (",
                     length, ")");
  }
  const int64_t positions = loaded.model->config().learned_positions;
  if (positions > 0 && length > positions) {
    return bad_input("--sequence-length: is ", length, ", the model has positions for ", positions);
  }
  return length;
}

// The token that ends a document of a .bin/.idx pair.
absl::StatusOr<int64_t> end_of_documents(const std::string& path, const LoadedModel& loaded,
                                         std::optional<int64_t> end_id) {
  if (end_id.has_value()) return *end_id;
  WEFT_ASSIGN_OR_RETURN(const std::vector<int64_t> ends, loaded.end_ids);
  if (ends.empty()) {
    return bad_input(path,
                     ": needs --end-id, the token that ends a document: the model's "
                     "configuration has no eos_token_id");
  }
  WEFT_RETURN_IF_ERROR(check_token("eos_token_id", ends.front(), loaded));
  return ends.front();
}

absl::StatusOr<TokenShards> open_shards(const std::string& path, const LoadedModel& loaded,
                                        std::optional<int64_t> end_id) {
  const int64_t vocab_size = loaded.model->config().vocab_size;
  if (is_text_source(path) || loaded.tokenizer.has_value()) {
    const absl::StatusOr<Tokenizer> tokenizer = loaded.need_tokenizer();
    if (!tokenizer.ok()) return in_context(tokenizer.status(), path);
    return open_source(path, *tokenizer, vocab_size, cache_folder() / "tokens", {});
  }
  WEFT_ASSIGN_OR_RETURN(const int64_t end, end_of_documents(path, loaded, end_id));
  const Tokenizer ids({.kind = TokenizerKind::kIds, .end_id = end});
  return open_source(path, ids, vocab_size, cache_folder() / "tokens", {});
}

absl::StatusOr<std::vector<Input>> open_inputs(const std::vector<std::string>& paths,
                                               const LoadedModel& loaded,
                                               std::optional<int64_t> end_id,
                                               const ChoiceOptions& options) {
  const int64_t vocab_size = loaded.model->config().vocab_size;
  std::vector<Input> inputs;
  for (const std::string& path : paths) {
    if (is_task(path)) {
      WEFT_ASSIGN_OR_RETURN(std::vector<ChoiceItem> items,
                            read_choice_tasks(path, loaded.need_tokenizer(), vocab_size, options));
      inputs.push_back({path, std::move(items)});
    } else {
      WEFT_ASSIGN_OR_RETURN(TokenShards shards, open_shards(path, loaded, end_id));
      inputs.push_back({path, std::move(shards)});
    }
  }
  return inputs;
}

// Bytes are known of what weft's own tokenizer made.
std::string line(const Evaluation& result, bool bytes_known) {
  std::string text =
      absl::StrFormat("loss=%.6f perplexity=%.4f", result.loss(), result.perplexity());
  if (bytes_known) absl::StrAppendFormat(&text, " bits_per_byte=%.6f", result.bits_per_byte());
  absl::StrAppendFormat(&text, " tokens=%d", result.targets);
  if (bytes_known) absl::StrAppendFormat(&text, " bytes=%d", result.text_bytes);
  return text;
}

std::string shown(const std::string& name, const std::optional<Accuracy>& accuracy) {
  const auto number = [](const std::optional<double>& value) {
    return value ? absl::StrFormat("%.4f", *value) : std::string("n/a");
  };
  const Accuracy known = accuracy.value_or(Accuracy{});
  return absl::StrFormat("%s=%s %s_stderr=%s", name,
                         number(accuracy ? std::optional(known.value) : std::nullopt), name,
                         number(known.standard_error));
}

std::string line(const ChoiceResult& result) {
  return absl::StrFormat("%s %s %s items=%d", shown("acc", result.acc),
                         shown("acc_norm", result.acc_norm), shown("acc_bytes", result.acc_bytes),
                         result.items);
}

absl::StatusOr<int> run(const EvalArguments& arguments) {
  WEFT_RETURN_IF_ERROR(check_paths(arguments.paths));
  Log log(Log::Echo::kYes);
  WEFT_ASSIGN_OR_RETURN(
      const LoadedModel loaded,
      load_model(arguments.model.checkpoint, arguments.model.device, arguments.model.compute, log));
  WEFT_RETURN_IF_ERROR(check_end_id(arguments.end_id, loaded));
  WEFT_ASSIGN_OR_RETURN(const int64_t length, window_length(arguments, loaded));
  std::string path;
  const auto progress = [&](int64_t done, int64_t total) {
    log.transient(absl::StrCat(path, ": ", 100 * done / total, " %"));
    return true;
  };
  const at::Device device = loaded.runtime.types.device;
  const Tokenizer* tokenizer = tokenizer_of(loaded);
  const ChoiceOptions choice_options = {
      .sequence_length = length,
      .prefix_token = tokenizer != nullptr ? tokenizer->end_of_document() : -1,
      .tokens_per_forward = kTokensPerForward,
      .device = device,
      .progress = progress};
  WEFT_ASSIGN_OR_RETURN(const std::vector<Input> inputs,
                        open_inputs(arguments.paths, loaded, arguments.end_id, choice_options));
  for (const Input& input : inputs) {
    path = input.path;
    std::string result;
    if (const auto* items = std::get_if<std::vector<ChoiceItem>>(&input.data)) {
      result = line(evaluate_choices(*loaded.model, *items, choice_options));
    } else {
      const EvaluationOptions options = {.sequence_length = length,
                                         .context = arguments.context,
                                         .max_tokens = {},
                                         .rows = std::max<int64_t>(1, kTokensPerForward / length),
                                         .device = device,
                                         .progress = progress};
      result = line(evaluate(*loaded.model, std::get<TokenShards>(input.data), options),
                    loaded.tokenizer.has_value());
    }
    log.transient("");
    WEFT_RETURN_IF_ERROR(print(absl::StrCat(path, ": ", result, "\n")));
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand(
      "eval", "loss of a checkpoint on text or token shards, accuracy on multiple-choice tasks");
  add_model_options(*command, arguments->model);
  command
      ->add_option(
          "path", arguments->paths,
          "folder of .txt, a .txt file, the prefix of a .bin/.idx pair, or a .jsonl file of tasks "
          "(docs/evaluation.md); one or more")
      ->required();
  command
      ->add_option(
          "--sequence-length", arguments->sequence_length,
          "tokens of a window, or that a choice sees at most; default: the longest of the recipe; "
          "for a Hugging Face folder what it is made for, but at most 2048")
      ->option_text("TOKENS")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command
      ->add_option(
          "--context", arguments->context,
          "tokens by which windows overlap, so that each token has at least that many before it; "
          "default 0")
      ->option_text("TOKENS")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--end-id", arguments->end_id,
                   "token that stands before and after each document of a .bin/.idx pair, for a "
                   "model whose tokenizer weft does not read; default: what it was trained with, "
                   "or its first eos_token_id")
      ->option_text("ID")
      ->check(CLI::NonNegativeNumber);
  command->footer(
      "example: weft eval runs/quickstart corpus/shakespeare/valid\n"
      "         weft eval SmolLM-135M tokens/valid --sequence-length 1024    for tokens/valid.bin "
      "and .idx\n"
      "         weft eval runs/quickstart task.jsonl    with lines such as\n"
      "  {\"context\": \"To be, or not\", \"choices\": [\"to be\", \"a bee\"], \"answer\": 0}");
  command->callback(
      [arguments, &context] { context.run = [arguments] { return run(*arguments); }; });
}

}  // namespace weft
