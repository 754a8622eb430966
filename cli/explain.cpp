#include "recipes/explain.h"

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/output.h"

namespace weft {
namespace {

struct ExplainOptions {
  std::string key;
  bool markdown = false;
};

absl::StatusOr<int> run(const ExplainOptions& options) {
  if (options.markdown) {
    WEFT_RETURN_IF_ERROR(print(recipe_reference()));
    return 0;
  }
  WEFT_ASSIGN_OR_RETURN(const std::string text, explain(options.key));
  WEFT_RETURN_IF_ERROR(print(text));
  return 0;
}

}  // namespace

void add_explain(CLI::App& app, Context& context) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command = app.add_subcommand("explain", "what a key of a recipe means");
  command->add_option("key", options->key, "such as optim.betas; absent: all keys");
  command->add_flag("--markdown", options->markdown, "print docs/recipe.md")->group("");
  command->footer("example: weft explain stages.schedule");
  command->callback([options, &context] { context.run = [options] { return run(*options); }; });
}

}  // namespace weft
