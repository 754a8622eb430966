#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "recipes/load.h"
#include "recipes/stored_model.h"
#include "trainer/loop.h"

namespace weft {
namespace {

constexpr int kStoppedOnRequest = 3;

struct TrainArguments {
  std::string recipe;
  std::vector<std::string> sets;
  std::string run_dir;
  std::optional<int64_t> stop_after;
  bool restart = false;
  bool profile = false;
};

// weft trains on one process so far; several would each train the same run into one directory.
absl::Status check_single_process() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && std::atoi(value) > 1) {
      return bad_input(name, "=", value,
                       ": this version trains on one process; start it without mpirun");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> run(const TrainArguments& arguments) {
  WEFT_RETURN_IF_ERROR(check_single_process());
  const auto run_dir_of = [&](const Recipe& recipe) {
    return arguments.run_dir.empty() ? fs::path("runs") / recipe.name : fs::path(arguments.run_dir);
  };
  const auto resumed = [&](const Recipe& recipe) {
    return arguments.restart ? std::nullopt : resumed_model(run_dir_of(recipe));
  };
  WEFT_ASSIGN_OR_RETURN(const LoadedRecipe loaded,
                        load_recipe(arguments.recipe, arguments.sets, Purpose::kTrain, resumed));
  Log log(Log::Echo::kYes);
  for (const std::string& warning : loaded.warnings) log.warning(warning);
  WEFT_ASSIGN_OR_RETURN(const TrainEnd end, train(loaded.recipe,
                                                  {.run_dir = run_dir_of(loaded.recipe),
                                                   .restart = arguments.restart,
                                                   .stop_after = arguments.stop_after,
                                                   .profile = arguments.profile},
                                                  log));
  return end == TrainEnd::kFinished ? 0 : kStoppedOnRequest;
}

}  // namespace

void add_train(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command =
      app.add_subcommand("train", "train as a recipe says, or go on with a run that was stopped");
  command->add_option("recipe", arguments->recipe, "the recipe, a YAML file")->required();
  command
      ->add_option("--set", arguments->sets,
                   "KEY=VALUE over the recipe, such as stages.0.steps=50; repeatable")
      ->take_all()
      ->expected(1);
  command->add_option("--run-dir", arguments->run_dir,
                      "where the run is kept; default: runs/<name>");
  command
      ->add_option("--stop-after", arguments->stop_after,
                   "stop cleanly once this many updates are done; the schedule stays as it is")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--restart", arguments->restart,
                    "begin anew; the run that is there is moved aside, not deleted");
  command->add_flag("--profile", arguments->profile,
                    "time the operators of a few updates: a table, and RUN_DIR/profile.json for "
                    "chrome://tracing");
  command->footer(
      "example: weft train configs/quickstart.yaml --set stages.0.steps=50\n"
      "The same command goes on with a run that was stopped. Exit status: 0 finished, 1 failed, 2 "
      "bad\n"
      "input, 3 stopped on request (Ctrl-C or --stop-after) with a checkpoint written.");
  command->callback(
      [arguments, &context] { context.run = [arguments] { return run(*arguments); }; });
}

}  // namespace weft
