#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/output.h"
#include "recipes/load.h"
#include "recipes/plan.h"

namespace weft {
namespace {

struct ValidateOptions {
  std::string recipe;
  std::vector<std::string> sets;
  std::optional<double> memory;  // bytes
};

absl::StatusOr<int> run(const ValidateOptions& options) {
  std::optional<int64_t> bytes;
  if (options.memory.has_value()) bytes = static_cast<int64_t>(std::min(*options.memory, 9e18));
  WEFT_ASSIGN_OR_RETURN(const LoadedRecipe loaded,
                        load_recipe(options.recipe, options.sets, {Purpose::kValidate, bytes}));
  WEFT_RETURN_IF_ERROR(print(describe_plan(loaded.recipe, bytes)));
  for (const std::string& warning : loaded.warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  return 0;
}

}  // namespace

void add_validate(CLI::App& app, Context& context) {
  auto options = std::make_shared<ValidateOptions>();
  CLI::App* command =
      app.add_subcommand("validate", "check a recipe and print its model and the memory it needs");
  command->add_option("recipe", options->recipe, "the recipe, a YAML file")->required();
  command
      ->add_option("--set", options->sets,
                   "KEY=VALUE over the recipe, such as stages.0.steps=50; repeatable")
      ->take_all()
      ->expected(1);
  command
      ->add_option("--memory", options->memory,
                   "memory that training may take, such as 80GiB; default: what this machine has")
      ->transform(CLI::AsNumberWithUnit(
          std::map<std::string, double>{
              {"b", 1}, {"mb", 1e6}, {"gb", 1e9}, {"mib", 1 << 20}, {"gib", 1 << 30}},
          static_cast<CLI::AsNumberWithUnit::Options>(CLI::AsNumberWithUnit::CASE_INSENSITIVE |
                                                      CLI::AsNumberWithUnit::UNIT_REQUIRED),
          "GIB|MIB|GB|MB"))
      ->check(CLI::PositiveNumber);
  command->footer("example: weft validate configs/quickstart.yaml --set model.num_layers=12");
  command->callback([options, &context] { context.run = [options] { return run(*options); }; });
}

}  // namespace weft
