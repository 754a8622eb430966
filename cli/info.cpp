#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/output.h"
#include "trainer/describe_run.h"

namespace weft {
namespace {

struct InfoOptions {
  std::string path;
  std::optional<int64_t> context;
};

absl::StatusOr<int> run(const InfoOptions& options) {
  Log log(Log::Echo::kYes);
  if (options.context.has_value()) {
    WEFT_ASSIGN_OR_RETURN(const std::string state,
                          describe_state(options.path, *options.context, log));
    WEFT_RETURN_IF_ERROR(print(state));
    return 0;
  }
  WEFT_ASSIGN_OR_RETURN(const std::string text, describe_run(options.path, log));
  WEFT_RETURN_IF_ERROR(print(text));
  return 0;
}

}  // namespace

void add_info(CLI::App& app, Context& context) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* command =
      app.add_subcommand("info",
                         "what a checkpoint, a run or a recipe has: state, files, layers, "
                         "parameters, memory of training, last figures");
  command
      ->add_option("path", options->path,
                   "a checkpoint's folder, a run directory, a Hugging Face folder or a recipe")
      ->required();
  command
      ->add_option("--context", options->context,
                   "print instead the memory that keys, values and states take while one sequence "
                   "of this many tokens is decoded")
      ->option_text("TOKENS")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->footer(
      "example: weft info runs/quickstart\n         weft info configs/models/jamba-v0.1.yaml "
      "--context 262144");
  command->callback([options, &context] { context.run = [options] { return run(*options); }; });
}

}  // namespace weft
