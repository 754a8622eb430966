#include "trainer/generate.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/model_options.h"
#include "trainer/load_model.h"

namespace weft {
namespace {

struct GenerateArguments {
  ModelOptions model;
  std::string prompt;
  int64_t max_tokens = 256;
  uint64_t seed = 1;
  bool past_end = false;
  SamplingConfig sampling{.temperature = 0.8};
};

absl::StatusOr<int> run(const GenerateArguments& arguments) {
  Log log(Log::Echo::kYes);
  WEFT_ASSIGN_OR_RETURN(
      const LoadedModel loaded,
      load_model(arguments.model.checkpoint, arguments.model.device, arguments.model.compute, log));
  // The end of a document is what every document starts with.
  std::vector<int64_t> prompt = {loaded.tokenizer.end_of_document()};
  for (const int32_t id : loaded.tokenizer.encode(arguments.prompt)) prompt.push_back(id);
  std::fputs(arguments.prompt.c_str(), stdout);
  generate(*loaded.model, prompt,
           {.sampling = arguments.sampling,
            .seed = arguments.seed,
            .max_tokens = arguments.max_tokens,
            .window = loaded.sequence_length(),
            .end_token = arguments.past_end ? -1 : loaded.tokenizer.end_of_document(),
            .device = loaded.runtime.types.device,
            .on_token = [&](int64_t token) {
              if (token < loaded.tokenizer.vocab_size()) {
                const int32_t id = static_cast<int32_t>(token);
                const std::string text = loaded.tokenizer.decode({&id, 1});
                std::fwrite(text.data(), 1, text.size(), stdout);
                std::fflush(stdout);
              }
              return std::ferror(stdout) == 0;
            }});
  std::fputs("\n", stdout);
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "text from a checkpoint");
  add_model_options(*command, arguments->model);
  command->add_option("--prompt", arguments->prompt, "text to go on from; default: a new document");
  command->add_option("--max-tokens", arguments->max_tokens, "how many tokens at most; default 256")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--temperature", arguments->sampling.temperature,
                   "0: always the most likely token; default 0.8")
      ->check(CLI::Range(0.0, 100.0));
  command
      ->add_option("--top-k", arguments->sampling.top_k, "of the k most likely tokens only; 0: all")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--top-p", arguments->sampling.top_p,
                   "of the fewest most likely tokens with this probability together; default 1")
      ->check(CLI::Range(1e-9, 1.0));
  command->add_option("--seed", arguments->seed, "the same seed gives the same text; default 1");
  command->add_flag("--past-end", arguments->past_end, "go on after the end of a document");
  command->footer(
      "example: weft generate runs/quickstart --prompt 'HAMLET.' --max-tokens 400 --seed 7");
  command->callback(
      [arguments, &context] { context.run = [arguments] { return run(*arguments); }; });
}

}  // namespace weft
