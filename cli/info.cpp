#include <cstdio>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "trainer/describe_run.h"

namespace weft {
namespace {

struct InfoOptions {
  std::string path;
};

absl::StatusOr<int> run(const InfoOptions& options) {
  Log log(Log::Echo::kYes);
  WEFT_ASSIGN_OR_RETURN(const std::string text, describe_run(options.path, log));
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace

void add_info(CLI::App& app, Context& context) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* command =
      app.add_subcommand("info", "what is in a checkpoint or run: state, files, model, figures");
  command->add_option("path", options->path, "a checkpoint's folder, or a run directory")
      ->required();
  command->footer("example: weft info runs/quickstart");
  command->callback([options, &context] { context.run = [options] { return run(*options); }; });
}

}  // namespace weft
