#pragma once
// The commands of the program, a file each. A command adds itself to the command line with its
// options, an example in its footer and a callback that stores what is to be run; main parses, then
// runs it.
//
//   void add_info(CLI::App& app, Context& context) {
//     auto options = std::make_shared<InfoOptions>();
//     CLI::App* command = app.add_subcommand("info", "what is in a checkpoint or run directory");
//     command->add_option("path", options->path, "checkpoint or run directory")->required();
//     command->footer("example: weft info runs/quickstart");
//     command->callback([options, &context] { context.run = [options] { return run(*options); };
//     });
//   }
#include <functional>

#include "base/status.h"

namespace CLI {
class App;
}

namespace weft {

struct Context {
  // The chosen command: its exit status (design.md, "Errors"), or the error that ended it, which
  // main prints and turns into one (base/status.h).
  std::function<absl::StatusOr<int>()> run;
};

void add_train(CLI::App& app, Context& context);
void add_validate(CLI::App& app, Context& context);
void add_explain(CLI::App& app, Context& context);
void add_generate(CLI::App& app, Context& context);
void add_eval(CLI::App& app, Context& context);
void add_info(CLI::App& app, Context& context);
void add_logits(CLI::App& app, Context& context);
void add_grads(CLI::App& app, Context& context);
void add_import(CLI::App& app, Context& context);
void add_export(CLI::App& app, Context& context);

}  // namespace weft
