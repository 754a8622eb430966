#pragma once
// A recipe as structs: everything that describes a run. Read first in this folder; then load.h
// (YAML to Recipe), validate.h (checks between structs), plan.h (parameters, FLOPs and memory
// before launch).
//
// Only the trainer's own structs stand here; the others are next to their users.
#include <cstdint>
#include <string>
#include <vector>

#include "base/schema.h"
#include "data/loader.h"
#include "models/families.h"
#include "models/head.h"
#include "models/memory_config.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace weft {

enum class DeviceKind { kAuto, kCpu, kCuda };
constexpr auto enum_names(DeviceKind) {
  return std::array{EnumName{DeviceKind::kAuto, "auto"}, EnumName{DeviceKind::kCpu, "cpu"},
                    EnumName{DeviceKind::kCuda, "cuda"}};
}
enum class ComputeKind { kAuto, kBf16, kFp32, kFp64 };
constexpr auto enum_names(ComputeKind) {
  return std::array{EnumName{ComputeKind::kAuto, "auto"}, EnumName{ComputeKind::kBf16, "bf16"},
                    EnumName{ComputeKind::kFp32, "fp32"}, EnumName{ComputeKind::kFp64, "fp64"}};
}

enum class InitFrom { kRandom, kCheckpoint, kHuggingface };
constexpr auto enum_names(InitFrom) {
  return std::array{EnumName{InitFrom::kRandom, "random"},
                    EnumName{InitFrom::kCheckpoint, "checkpoint"},
                    EnumName{InitFrom::kHuggingface, "huggingface"}};
}

// What the weights start as. The model's own `init` says how random ones are drawn.
struct StartConfig {
  InitFrom from = InitFrom::kRandom;
  std::string path;
  static void describe(auto& self, auto& schema) {
    schema.field("from", self.from, any(),
                 "what the weights start as: random numbers (model.init), or those at path");
    schema.when(self.from != InitFrom::kRandom, "from: checkpoint or huggingface", [&] {
      schema.field(
          "path", self.path, required(not_empty()),
          "a Hugging Face folder; or a checkpoint of a run or of `weft import`, its folder "
          "or the run directory. It is read where the run begins, and never again");
    });
  }
};

struct StageConfig {
  std::string name = "main";
  int64_t steps = 0;
  int64_t sequence_length = 0;
  int64_t batch_tokens = 0;
  Auto<int64_t> micro_batch_tokens;
  DataConfig data;
  ScheduleConfig schedule;
  static void describe(auto& self, auto& schema) {
    schema.field("name", self.name, not_empty(), "names the stage in the log");
    schema.field("steps", self.steps, required(within(1, 1e12)), "updates of this stage");
    schema.field("sequence_length", self.sequence_length, required(within(1, 1 << 30)),
                 "tokens of a sequence");
    schema.field(
        "batch_tokens", self.batch_tokens, required(within(1, 1e12)),
        "tokens of an update, over all ranks and micro-batches; a multiple of sequence_length");
    schema.field(
        "micro_batch_tokens", self.micro_batch_tokens, within(1, 1e12),
        "tokens of one forward pass of a rank; a multiple of sequence_length; auto: up to 8192");
    schema.field("data", self.data, required(), "what is trained on and evaluated");
    schema.field("schedule", self.schedule, any(), "learning rate over the stage");
  }
};

struct PrecisionConfig {
  ComputeKind compute = ComputeKind::kAuto;
  static void describe(auto& self, auto& schema) {
    schema.field(
        "compute", self.compute, any(),
        "type of matrix products and activations; auto: bf16 where the machine has units for "
        "it, else fp32; fp64 is for exactness tests");
  }
};

struct ValidationConfig {
  int64_t every_steps = 100;
  OrAll<int64_t> max_tokens;
  static void describe(auto& self, auto& schema) {
    schema.field("every_steps", self.every_steps, within(0, 1e12),
                 "updates between evaluations; the last update is always evaluated; 0: only that");
    schema.field("max_tokens", self.max_tokens, within(1, 1e15),
                 "tokens of each source to evaluate");
  }
};

struct GuardConfig {
  bool skip_nonfinite = true;
  double spike_factor = 5;
  int64_t stop_after = 20;
  static void describe(auto& self, auto& schema) {
    schema.field("skip_nonfinite", self.skip_nonfinite, any(),
                 "skip an update whose loss or gradient norm is not finite; false: stop at once");
    schema.field(
        "spike_factor", self.spike_factor, at_least(0),
        "skip an update whose gradient norm is over this many times its running mean; 0: never");
    schema.field("stop_after", self.stop_after, within(1, 1e9),
                 "stop the run after this many skipped updates in a row");
  }
};

struct CheckpointConfig {
  int64_t every_steps = 100;
  int64_t keep = 3;
  int64_t keep_every = 0;
  static void describe(auto& self, auto& schema) {
    schema.field("every_steps", self.every_steps, within(0, 1e12),
                 "updates between checkpoints; the last update is always saved; 0: only that");
    schema.field("keep", self.keep, within(1, 1e9), "how many of the newest are kept");
    schema.field("keep_every", self.keep_every, within(0, 1e12),
                 "checkpoints at multiples of this many updates are kept for ever; 0: none");
  }
};

struct LoggingConfig {
  int64_t every_steps = 10;
  bool tensorboard = true;
  static void describe(auto& self, auto& schema) {
    schema.field("every_steps", self.every_steps, within(1, 1e12),
                 "updates between lines of metrics");
    schema.field("tensorboard", self.tensorboard, any(), "write TensorBoard event files too");
  }
};

struct Recipe {
  std::string name;
  int64_t seed = 1;
  DeviceKind device = DeviceKind::kAuto;
  Auto<int64_t> threads;
  StartConfig init;
  ModelRecipe model;
  std::vector<StageConfig> stages;
  OptimConfig optim;
  PrecisionConfig precision;
  Penalties loss;
  MemoryConfig memory;
  ValidationConfig validation;
  GuardConfig guard;
  CheckpointConfig checkpoint;
  LoggingConfig logging;

  static void describe(auto& self, auto& schema) {
    schema.field("name", self.name, required(not_empty()),
                 "name of the run; its directory is runs/<name>");
    schema.field("seed", self.seed, within(0, 9e15),
                 "every random number of the run derives from it");
    schema.field("device", self.device, any(), "where tensors live; auto: cuda if there is a GPU");
    schema.field("threads", self.threads, within(1, 4096), "CPU threads; auto: one a core");
    schema.field("init", self.init, any(), "what the weights start as");
    // load.cpp complains where it is missing: that depends on what stands at init.path.
    schema.field("model", self.model, any(),
                 "the architecture; required, unless init names a path: then keys that are left "
                 "out are those of the model there, and the tensors must be the same");
    schema.field(
        "stages", self.stages, required(not_empty()),
        "parts of the run, one after the other; each may change data, lengths and schedule");
    schema.field("optim", self.optim, any(), "the optimiser");
    schema.field("precision", self.precision, any(), "number types");
    schema.field("loss", self.loss, any(), "what is optimised beside the targets' likelihood");
    schema.field("memory", self.memory, any(), "less memory for more time");
    schema.field("validation", self.validation, any(), "evaluation while training");
    schema.field("guard", self.guard, any(), "what happens to a bad update");
    schema.field("checkpoint", self.checkpoint, any(), "when checkpoints are written and kept");
    schema.field("logging", self.logging, any(), "metrics");
  }
};

}  // namespace weft
