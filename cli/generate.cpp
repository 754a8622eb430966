#include "trainer/generate.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/validators.h"
#include "trainer/generation_window.h"
#include "trainer/load_model.h"
#include "trainer/prompts.h"
#include "trainer/stop_strings.h"

namespace weft {
namespace {

struct GenerateArguments {
  ModelOptions model;
  std::string prompt, ids, prompts;  // empty: not given
  int64_t max_tokens = 256;
  std::optional<int64_t> window;
  int64_t batch = 8;
  uint64_t seed = 1;
  bool past_end = false;
  std::vector<int64_t> end_ids;
  std::vector<std::string> stop;
  SamplingConfig sampling{.temperature = 0.8};
};

absl::StatusOr<std::vector<Prompt>> prompts_of(const GenerateArguments& arguments,
                                               const LoadedModel& model) {
  if (!arguments.prompts.empty()) return read_prompts(model, arguments.prompts);
  if (!arguments.ids.empty()) return id_prompts(model, arguments.ids);
  WEFT_ASSIGN_OR_RETURN(Prompt prompt, text_prompt(model, arguments.prompt));
  return std::vector<Prompt>{std::move(prompt)};
}

absl::StatusOr<std::vector<int64_t>> end_tokens(const GenerateArguments& arguments,
                                                const LoadedModel& model) {
  const int64_t vocab_size = model.model->config().vocab_size;
  for (const int64_t id : arguments.end_ids) {
    if (id >= 0 && id < vocab_size) continue;
    return bad_input("--end-id: is ", id, ", must be a token id from 0 to ", vocab_size - 1);
  }
  if (arguments.past_end) return std::vector<int64_t>();
  if (!arguments.end_ids.empty()) return arguments.end_ids;
  return model.end_ids;
}

// Prints tokens as they come (one prompt), or a line of JSON a prompt as the answers come.
class Output {
 public:
  Output(const LoadedModel& model, const std::vector<Prompt>& prompts,
         const GenerateArguments& arguments)
      : model_(model),
        prompts_(prompts),
        streams_(prompts.size() == 1 && arguments.prompts.empty()),
        stops_(prompts.size(), StopStrings(arguments.stop)),
        texts_(prompts.size()) {}

  absl::Status begin() const { return streams_ ? print(prompts_[0].text) : absl::OkStatus(); }

  // Whether the text goes on.
  absl::StatusOr<bool> add(size_t index, int64_t token) {
    std::string shown = absl::StrCat(token, " ");
    if (model_.tokenizer.has_value()) shown = stops_[index].push(decode(model_, {token}));
    texts_[index] += shown;
    if (streams_) WEFT_RETURN_IF_ERROR(print(shown));
    return !stops_[index].stopped();
  }

  absl::Status finish(size_t index, const std::vector<int64_t>& answer) {
    const std::string rest = stops_[index].finish();
    texts_[index] += rest;
    return print((streams_ ? rest : answer_line(model_, prompts_[index], answer, texts_[index])) +
                 "\n");
  }

 private:
  const LoadedModel& model_;
  const std::vector<Prompt>& prompts_;
  bool streams_;
  std::vector<StopStrings> stops_;
  std::vector<std::string> texts_;
};

// What can be seen without a model, so that a wrong name need not wait for one.
absl::Status check_files(const GenerateArguments& arguments) {
  if (!arguments.prompts.empty()) return MappedFile::open(arguments.prompts).status();
  if (arguments.ids.empty() || is_id_list(arguments.ids)) return absl::OkStatus();
  return MappedFile::open(arguments.ids).status();
}

absl::StatusOr<int> run(const GenerateArguments& arguments) {
  WEFT_RETURN_IF_ERROR(check_files(arguments));
  Log log(Log::Echo::kYes);
  WEFT_ASSIGN_OR_RETURN(
      const LoadedModel loaded,
      load_model(arguments.model.checkpoint, arguments.model.device, arguments.model.compute, log));
  WEFT_ASSIGN_OR_RETURN(const std::vector<Prompt> prompts, prompts_of(arguments, loaded));
  if (!arguments.stop.empty() && !loaded.tokenizer.has_value()) {
    return loaded.need_tokenizer().status();
  }
  WEFT_ASSIGN_OR_RETURN(std::vector<int64_t> ends, end_tokens(arguments, loaded));
  const std::optional<int64_t> window = generation_window(loaded, arguments.window);
  WEFT_RETURN_IF_ERROR(check_window(loaded, window, prompts, log));
  std::vector<std::vector<int64_t>> tokens;
  for (const Prompt& prompt : prompts) tokens.push_back(prompt.tokens);
  Output output(loaded, prompts, arguments);
  const GenerationOptions options = {
      .sampling = arguments.sampling,
      .seed = arguments.seed,
      .max_tokens = arguments.max_tokens,
      .window = window,
      .end_tokens = std::move(ends),
      .batch = arguments.batch,
      .device = loaded.runtime.types.device,
      .on_token = [&](size_t index, int64_t token) { return output.add(index, token); },
      .on_answer = [&](size_t index, const auto& answer) { return output.finish(index, answer); },
      .log = &log};
  WEFT_RETURN_IF_ERROR(check_state_memory(loaded, state_size(tokens, options)));
  WEFT_RETURN_IF_ERROR(output.begin());
  WEFT_RETURN_IF_ERROR(generate(*loaded.model, tokens, options).status());
  return 0;
}

void add_sampling_options(CLI::App& command, SamplingConfig& sampling) {
  command
      .add_option("--temperature", sampling.temperature,
                  "0: always the most likely token; default 0.8")
      ->check(real_range(0.0, 100.0));
  command
      .add_option("--top-k", sampling.top_k,
                  "draw from the k most likely tokens only; default 0: from all")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option(
          "--top-p", sampling.top_p,
          "draw from the fewest most likely tokens that have this probability together; default 1: "
          "from all")
      ->check(real_range(1e-9, 1.0));
  command
      .add_option(
          "--min-p", sampling.min_p,
          "draw from tokens at least this times as likely as the most likely one; default 0: "
          "from all")
      ->check(real_range(0.0, 1.0));
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty,
                  "over 1: makes tokens that are there already less likely; default 1")
      ->check(real_range(0.01, 100.0));
}

}  // namespace

void add_generate(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command =
      app.add_subcommand("generate", "text, or token ids, that a model puts after a prompt");
  add_model_options(*command, arguments->model);
  auto* prompt = command->add_option("--prompt", arguments->prompt,
                                     "text to go on from; default: a new document");
  auto* ids = command->add_option(
      "--ids", arguments->ids,
      "token ids to go on from: 5,17,3, or a JSON file with a list of lists of them");
  ids->check(non_empty_text());
  command
      ->add_option("--prompts", arguments->prompts,
                   "JSONL file, a line a prompt: {\"prompt\": \"text\"} or {\"ids\": [5, 17]}; "
                   "answers are JSONL too")
      ->check(non_empty_text())
      ->excludes(prompt)
      ->excludes(ids);
  ids->excludes(prompt);
  command->add_option("--max-tokens", arguments->max_tokens, "how many tokens at most; default 256")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  add_sampling_options(*command, arguments->sampling);
  command->add_option("--stop", arguments->stop, "end before this text; repeatable")
      ->take_all()
      ->expected(1);
  auto* end_id = command->add_option(
      "--end-id", arguments->end_ids,
      "end at this token; repeatable; default: the tokenizer's end of a document, or every "
      "eos_token_id of generation_config.json (else of config.json)");
  end_id->take_all()->expected(1);
  command->add_flag("--past-end", arguments->past_end, "go on after the end of a document")
      ->excludes(end_id);
  command
      ->add_option(
          "--window", arguments->window,
          "tokens that the model sees at most, of a longer prompt the last; default: what it was "
          "trained on or made for, any number without attention. Past them it starts anew from the "
          "last half")
      ->option_text("TOKENS")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command->add_option("--batch", arguments->batch, "prompts at once; default 8")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  command->add_option("--seed", arguments->seed, "the same seed gives the same text; default 1");
  command->footer(
      "example: weft generate runs/quickstart --prompt 'HAMLET.' --max-tokens 400 --seed 7\n"
      "         weft generate SmolLM-135M --ids 504,2365 --temperature 0\n"
      "         weft generate runs/quickstart --prompts prompts.jsonl > answers.jsonl");
  command->callback(
      [arguments, &context] { context.run = [arguments] { return run(*arguments); }; });
}

}  // namespace weft
