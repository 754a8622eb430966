// `weft logits` and `weft grads`: what a model computes for given token ids, into a file that any
// other implementation can be compared with.
#include "trainer/inspect.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/validators.h"

namespace weft {
namespace {

struct InspectArguments {
  ModelOptions model;
  std::string ids, out;
};

enum class What { kLogits, kGradients };

// What would be noticed only once everything has been computed.
absl::Status check_out(const fs::path& out) {
  if (out.empty()) return bad_input("--out: is empty; give the name of a file");
  std::error_code error;
  if (fs::is_directory(out, error)) {
    return bad_input("--out: '", out.string(), "' is a folder; give the name of a file");
  }
  const fs::path folder = out.parent_path();
  if (!folder.empty() && !fs::is_directory(folder, error)) {
    return bad_input("--out: '", out.string(), "': there is no folder '", folder.string(), "'");
  }
  // What it has created is gone again at once.
  const absl::Status created = AtomicFile::create(out).status();
  return created.ok() ? created : bad_input("--out: ", created.message());
}

absl::StatusOr<int> run(const InspectArguments& arguments, What what) {
  WEFT_RETURN_IF_ERROR(check_out(arguments.out));
  WEFT_RETURN_IF_ERROR(MappedFile::open(arguments.ids).status());  // before the model is loaded
  Log log(Log::Echo::kYes);
  WEFT_ASSIGN_OR_RETURN(
      LoadedModel loaded,
      load_model(arguments.model.checkpoint, arguments.model.device, arguments.model.compute, log,
                 what == What::kGradients ? Gradients::kKept : Gradients::kNone));
  WEFT_ASSIGN_OR_RETURN(const TokenLists sequences,
                        read_token_lists(arguments.ids, loaded.model->config().vocab_size));
  WEFT_RETURN_IF_ERROR(check_lengths(loaded, sequences, arguments.ids));
  std::vector<TensorSource> tensors;
  if (what == What::kLogits) {
    tensors = logit_sources(loaded, sequences, [&log](int64_t done, int64_t total) {
      log.transient(absl::StrCat("logits: ", done, " of ", total, " sequences"));
    });
  } else {
    for (NamedTensor& gradient : compute_gradients(loaded, sequences)) {
      tensors.push_back(TensorSource::of(std::move(gradient)));
    }
  }
  const absl::Status written =
      write_safetensors(arguments.out, std::move(tensors), {{"format", "pt"}}).status();
  log.transient("");
  WEFT_RETURN_IF_ERROR(written);
  return 0;
}

void add(CLI::App& app, Context& context, What what, const char* name, const char* doc,
         const char* contents) {
  auto arguments = std::make_shared<InspectArguments>();
  arguments->model.compute = ComputeKind::kFp32;
  CLI::App* command = app.add_subcommand(name, doc);
  add_model_options(*command, arguments->model);
  command
      ->add_option("--ids", arguments->ids,
                   "JSON file with a list of lists of token ids, such as [[1, 2, 3], [7]]")
      ->check(non_empty_text())
      ->required();
  command
      ->add_option("--out", arguments->out,
                   "safetensors file to write; one that is there is replaced")
      ->required();
  command->footer(absl::StrCat("example: echo '[[72, 105, 33], [7]]' > ids.json\n         weft ",
                               name, " runs/quickstart --ids ids.json --out ", name,
                               ".safetensors\n", contents));
  command->callback([arguments, what, &context] {
    context.run = [arguments, what] { return run(*arguments, what); };
  });
}

}  // namespace

void add_logits(CLI::App& app, Context& context) {
  add(app, context, What::kLogits, "logits",
      "logits and loss of token sequences, into a safetensors file",
      "The file has logits.<i> [tokens, vocabulary] and loss.<i>, the mean over the sequence's\n"
      "targets, of each sequence i by itself, in fp32. Dropout is off.");
}

void add_grads(CLI::App& app, Context& context) {
  add(app, context, What::kGradients, "grads",
      "gradient of every parameter for token sequences, into a safetensors file",
      "The file has the gradient of every parameter under its Hugging Face name and in its layout\n"
      "on disk (under weft's own name for a model that transformers does not have), loss, the "
      "mean\n"
      "over the targets of all sequences, and aux, in fp32. Dropout is off.");
}

}  // namespace weft
