// `weft import` and `weft export`: Hugging Face checkpoints to weft's and back.
#include "trainer/convert.h"

#include <map>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/validators.h"

namespace weft {
namespace {

struct ImportArguments {
  std::string path, out;
};

struct ExportArguments {
  std::string path, out;
  std::string dtype = "auto";
  double shard_gb = 5.0;
};

absl::StatusOr<int> run(const ImportArguments& arguments) {
  Log log(Log::Echo::kYes);
  WEFT_RETURN_IF_ERROR(import_checkpoint(arguments.path, arguments.out, log));
  log.info("imported ", arguments.path, " into ", arguments.out);
  return 0;
}

absl::StatusOr<int> run(const ExportArguments& arguments) {
  static const std::map<std::string, at::ScalarType> kTypes = {
      {"fp32", at::kFloat}, {"bf16", at::kBFloat16}, {"fp16", at::kHalf}};
  Log log(Log::Echo::kYes);
  ExportOptions options;
  if (arguments.dtype != "auto") options.dtype = kTypes.at(arguments.dtype);
  options.shard_bytes = static_cast<int64_t>(arguments.shard_gb * 1e9);
  WEFT_RETURN_IF_ERROR(export_checkpoint(arguments.path, arguments.out, options, log));
  log.info("exported ", arguments.path, " into ", arguments.out);
  return 0;
}

}  // namespace

void add_import(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<ImportArguments>();
  CLI::App* command =
      app.add_subcommand("import", "make a checkpoint of weft's from a Hugging Face folder");
  command->add_option("path", arguments->path, "folder with config.json and safetensors files")
      ->required();
  command->add_option("--out", arguments->out, "the checkpoint, a new folder")->required();
  command->footer(
      "example: weft import SmolLM-135M --out checkpoints/smollm-135m\n"
      "Tensors keep their number types. Commands that only read a checkpoint take the Hugging "
      "Face\n"
      "folder itself too.");
  command->callback(
      [arguments, &context] { context.run = [arguments] { return run(*arguments); }; });
}

void add_export(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command = app.add_subcommand(
      "export", "make a Hugging Face folder, which transformers loads, from a checkpoint");
  command
      ->add_option("path", arguments->path,
                   "a checkpoint's folder, a run directory or a Hugging Face folder")
      ->required();
  command->add_option("--out", arguments->out, "the Hugging Face folder, a new one")->required();
  command
      ->add_option(
          "--dtype", arguments->dtype,
          "number type of all tensors; default auto: as they are stored, which for a run's "
          "checkpoint is fp32")
      ->check(CLI::IsMember({"auto", "fp32", "bf16", "fp16"}));
  command
      ->add_option("--shard-gb", arguments->shard_gb,
                   "largest size of a file in GB (10^9 bytes); default 5. A single tensor may be "
                   "larger")
      ->option_text("GB")
      ->check(real_range(1e-6, 1e6));
  command->footer("example: weft export runs/quickstart --out quickstart-hf --dtype bf16");
  command->callback(
      [arguments, &context] { context.run = [arguments] { return run(*arguments); }; });
}

}  // namespace weft
