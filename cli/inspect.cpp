// `weft logits` and `weft grads`: what a model computes for given token ids, into a file that any
// other implementation can be compared with.
#include "trainer/inspect.h"

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/model_options.h"

namespace weft {
namespace {

struct InspectArguments {
  ModelOptions model;
  std::string ids, out;
};

enum class What { kLogits, kGradients };

absl::StatusOr<int> run(const InspectArguments& arguments, What what) {
  Log log(Log::Echo::kYes);
  WEFT_ASSIGN_OR_RETURN(
      LoadedModel loaded,
      load_model(arguments.model.checkpoint, arguments.model.device, arguments.model.compute, log,
                 what == What::kGradients ? Gradients::kKept : Gradients::kNone));
  WEFT_ASSIGN_OR_RETURN(const TokenLists sequences,
                        read_token_lists(arguments.ids, loaded.model->config().vocab_size));
  WEFT_RETURN_IF_ERROR(check_lengths(loaded, sequences, arguments.ids));
  const std::vector<NamedTensor> tensors = what == What::kLogits
                                               ? compute_logits(loaded, sequences)
                                               : compute_gradients(loaded, sequences);
  WEFT_RETURN_IF_ERROR(write_safetensors(arguments.out, tensors, {{"format", "pt"}}).status());
  return 0;
}

void add(CLI::App& app, Context& context, What what, const char* name, const char* doc) {
  auto arguments = std::make_shared<InspectArguments>();
  arguments->model.compute = ComputeKind::kFp32;
  CLI::App* command = app.add_subcommand(name, doc);
  add_model_options(*command, arguments->model);
  command
      ->add_option("--ids", arguments->ids,
                   "JSON file with a list of lists of token ids, such as [[1, 2, 3], [7]]")
      ->required();
  command->add_option("--out", arguments->out, "safetensors file to write")->required();
  command->footer(std::string("example: weft ") + name + " runs/quickstart --ids ids.json --out " +
                  name +
                  ".safetensors\nIt computes in fp32 on the CPU or GPU unless --compute says "
                  "otherwise.");
  command->callback([arguments, what, &context] {
    context.run = [arguments, what] { return run(*arguments, what); };
  });
}

}  // namespace

void add_logits(CLI::App& app, Context& context) {
  add(app, context, What::kLogits, "logits",
      "logits and loss of token sequences, into a safetensors file");
}

void add_grads(CLI::App& app, Context& context) {
  add(app, context, What::kGradients, "grads",
      "gradient of every parameter for token sequences, into a safetensors file");
}

}  // namespace weft
