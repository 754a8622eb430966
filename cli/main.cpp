// The program: parses the command line, runs the chosen command, and turns what came of it into an
// exit status: 0 done, 1 failed while running, 2 bad input found before running, 3 stopped on
// request.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/schema.h"
#include "cli/allocator.h"
#include "cli/commands.h"
#include "cli/openmp.h"

namespace weft {
namespace {

constexpr int kFailed = 1;
constexpr int kBadInput = 2;

// Why `word`, in the place of a command, is none.
std::string unknown_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  std::string list;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
    list += (list.empty() ? "" : ", ") + command->get_name();
  }
  for (const std::string& name : names) {
    if (name == word) return "";
  }
  const std::string near = nearest_word(word, names);
  return "unknown command '" + word + "'; " +
         (near.empty() ? "commands: " + list : "did you mean '" + near + "'?");
}

int run_command(int argc, char** argv) {
  CLI::App app(
      "weft trains hybrid (attention, Mamba, mixture of experts) language models from one "
      "YAML recipe",
      "weft");
  app.set_version_flag("--version", "weft " WEFT_VERSION);
  app.require_subcommand(1);
  app.footer("example: weft train configs/quickstart.yaml\nhelp on a command: weft COMMAND --help");
  Context context;
  add_train(app, context);
  add_validate(app, context);
  add_explain(app, context);
  add_generate(app, context);
  add_eval(app, context);
  add_info(app, context);
  add_import(app, context);
  add_export(app, context);
  add_logits(app, context);
  add_grads(app, context);

  if (argc > 1 && argv[1][0] != '-') {
    const std::string problem = unknown_command(app, argv[1]);
    if (!problem.empty()) {
      std::fprintf(stderr, "weft: %s\n", problem.c_str());
      return kBadInput;
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadInput;
  }
  const absl::StatusOr<int> result = context.run();
  if (result.ok()) return *result;
  std::fprintf(stderr, "%s\n", std::string(result.status().message()).c_str());
  return exit_status(result.status());
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::limit_openmp_spinning(argv);
  weft::give_back_kept_memory_when_short();
  try {
    return weft::run_command(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "weft: %s\n", error.what());
    return weft::kFailed;
  }
}
