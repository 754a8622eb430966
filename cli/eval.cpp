#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/model_options.h"
#include "trainer/evaluate.h"
#include "trainer/load_model.h"
#include "trainer/run_data.h"

namespace weft {
namespace {

struct EvalArguments {
  ModelOptions model;
  std::vector<std::string> paths;
  std::optional<int64_t> sequence_length;
  int64_t context = 0;
};

constexpr int64_t kTokensPerForward = 8192;

absl::StatusOr<int> run(const EvalArguments& arguments) {
  for (const std::string& path : arguments.paths) {
    if (const std::string problem = check_source(path); !problem.empty()) {
      return bad_input(problem);
    }
  }
  Log log(Log::Echo::kYes);
  WEFT_ASSIGN_OR_RETURN(
      const LoadedModel loaded,
      load_model(arguments.model.checkpoint, arguments.model.device, arguments.model.compute, log));
  const int64_t length = arguments.sequence_length.value_or(loaded.sequence_length);
  if (arguments.context >= length) {
    return bad_input("--context: is ", arguments.context, ", must be below the sequence length (",
                     length, ")");
  }
  for (const std::string& path : arguments.paths) {
    WEFT_ASSIGN_OR_RETURN(const TokenShards shards,
                          open_source(path, loaded.tokenizer, loaded.model->config().vocab_size,
                                      cache_folder() / "tokens", {}));
    const Evaluation result =
        evaluate(*loaded.model, shards,
                 {.sequence_length = length,
                  .context = arguments.context,
                  .max_tokens = {},
                  .rows = std::max<int64_t>(1, kTokensPerForward / length),
                  .device = loaded.runtime.types.device,
                  .progress = [&](int64_t done, int64_t total) {
                    log.transient(absl::StrCat(path, ": ", 100 * done / total, " %"));
                    return true;
                  }});
    log.transient("");
    absl::PrintF("%s: loss=%.6f perplexity=%.4f bits_per_byte=%.6f tokens=%d bytes=%d\n", path,
                 result.loss(), result.perplexity(), result.bits_per_byte(), result.targets,
                 result.text_bytes);
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "loss of a checkpoint on text or token shards");
  add_model_options(*command, arguments->model);
  command
      ->add_option("path", arguments->paths,
                   "folder of .txt, a .txt file, or the prefix of a .bin/.idx pair; one or more")
      ->required();
  command
      ->add_option("--sequence-length", arguments->sequence_length,
                   "tokens of a window; default: the longest of the recipe")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command
      ->add_option(
          "--context", arguments->context,
          "tokens by which windows overlap, so that each token has at least that many before it")
      ->check(CLI::NonNegativeNumber);
  command->footer("example: weft eval runs/quickstart corpus/shakespeare/valid");
  command->callback(
      [arguments, &context] { context.run = [arguments] { return run(*arguments); }; });
}

}  // namespace weft
