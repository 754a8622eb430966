// Whole training steps for scripts/bench: `step_bench RECIPE [KEY=VALUE]...` makes the recipe's
// model with random weights and a batch of random tokens, and obeys the lines that it reads, each
// with a JSON line. `step` trains one update, forward, backward, clipping and optimiser:
// milliseconds and loss. `peak`: FLOP/s of matrix products. `info`: parameters, FLOPs of a step,
// peak of memory: of the process on the CPU, of tensors on a GPU.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "base/check.h"
#include "bench/device_timer.h"
#include "cli/allocator.h"
#include "cli/openmp.h"
#include "models/flops.h"
#include "models/kernels/matmul.h"
#include "optim/optimizer.h"
#include "recipes/load.h"
#include "trainer/machine.h"
#include "trainer/runtime.h"
#include "trainer/step.h"

namespace weft {
namespace {

// Every token is followed by the next one; the last of a row by nothing.
Batch random_batch(int64_t rows, int64_t length, int64_t vocab_size) {
  Batch batch;
  batch.tokens = at::randint(vocab_size, {rows, length}, at::kLong);
  batch.targets = batch.tokens.roll(-1, 1);
  batch.targets.narrow(1, length - 1, 1).fill_(kIgnoredTarget);
  batch.documents = at::zeros({rows, length}, at::kInt);
  batch.positions = at::arange(length, at::kLong).expand({rows, length});
  batch.num_targets = rows * (length - 1);
  return batch;
}

// Most memory so far. On the CPU, of this program; getrusage would know of the time before it was
// started too.
double peak_mib(at::Device device) {
  if (!device.is_cpu()) return static_cast<double>(memory_in_use(device)) / (1 << 20);
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib / 1024;
  }
  return 0;
}

// Timed as one: starting a GPU's takes as long as the small ones last.
int products_at_once(at::Device device) { return device.is_cpu() ? 1 : 32; }

class Worker {
 public:
  explicit Worker(const Recipe& recipe)
      : recipe_(recipe),
        runtime_(resolve_runtime(recipe)),
        config_(build_config(recipe.model)),
        table_(parameter_table(config_)),
        store_(table_, runtime_.types),
        optimizer_(recipe.optim, store_),
        model_(config_, store_, recipe.memory) {
    at::set_num_threads(runtime_.threads);
    store_.initialize(1);
    const StageConfig& stage = recipe.stages[0];
    for (int64_t left = stage.batch_tokens; left > 0; left -= *stage.micro_batch_tokens) {
      batches_.push_back(random_batch(*stage.micro_batch_tokens / stage.sequence_length,
                                      stage.sequence_length, config_.vocab_size));
    }
  }

  void step() {
    const DeviceTimer timer(runtime_.types.device);
    const StepResult result =
        compute_gradients(model_, store_, batches_, recipe_.loss, recipe_.optim.clip_norm);
    optimizer_.update(steps_++, recipe_.stages[0].schedule.peak, result.clip_factor);
    std::printf("{\"ms\": %.3f, \"loss\": %.6f}\n", timer.ms(), result.loss);
  }

  // Of square matrices and of the step's own, layers with one input also as the one they are.
  void peak() const {
    const at::Device device = runtime_.types.device;
    double best = measure_matmul_peak(runtime_.types.compute, device);
    const auto options = at::TensorOptions(runtime_.types.compute).device(device);
    const int64_t tokens = *recipe_.stages[0].micro_batch_tokens;
    std::set<std::vector<int64_t>> shapes;
    for (const ParameterSpec& spec : table_.rows()) {
      if (spec.shape.size() == 2 && spec.shape[1] > 1) shapes.insert(spec.shape);
    }
    for (const JointLayout& joint : lay_out(table_, /*one_type=*/true).joints) {
      if (joint.first->shape.size() == 2) shapes.insert({joint.rows, joint.first->shape[1]});
    }
    for (const std::vector<int64_t>& shape : shapes) {
      const Tensor x = at::randn({tokens, shape[1]}, options.dtype(at::kFloat)).to(options.dtype());
      const Tensor weight = at::randn(shape, options.dtype(at::kFloat)).to(options.dtype());
      Tensor y = at::empty({tokens, shape[0]}, options);
      for (int i = 0; i < 4; ++i) {
        const DeviceTimer timer(device);
        for (int j = 0; j < products_at_once(device); ++j) multiply_into(y, x, weight.t());
        const double flops = 2.0 * static_cast<double>(x.numel() * shape[0]);
        best = std::max(best, flops * products_at_once(device) / (timer.ms() / 1e3));
      }
    }
    std::printf("{\"flops_per_s\": %.4e}\n", best);
  }

  void info() const {
    const StageConfig& stage = recipe_.stages[0];
    const double flops = 3 * forward_flops_per_token(config_, stage.sequence_length) *
                         static_cast<double>(stage.batch_tokens);
    std::printf("{\"parameters\": %ld, \"flops\": %.6e, \"peak_mib\": %.1f}\n", table_.numel(),
                flops, peak_mib(runtime_.types.device));
  }

 private:
  const Recipe recipe_;
  const Runtime runtime_;
  const ModelConfig config_;
  const ParameterTable table_;
  ParameterStore store_;
  Optimizer optimizer_;
  CausalLM model_;
  std::vector<Batch> batches_;
  int64_t steps_ = 0;
};

int run(int argc, char** argv) {
  const auto loaded = load_recipe(argv[1], {argv + 2, argv + argc}, Purpose::kValidate);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", std::string(loaded.status().message()).c_str());
    return exit_status(loaded.status());
  }
  Worker worker(loaded->recipe);
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "step") {
      worker.step();
    } else if (line == "peak") {
      worker.peak();
    } else if (line == "info") {
      worker.info();
    } else {
      std::fprintf(stderr, "step_bench: unknown command '%s'\n", line.c_str());
      return 2;
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: step_bench RECIPE [KEY=VALUE]...\n");
    return 2;
  }
  weft::limit_openmp_spinning(argv);
  weft::give_back_kept_memory_when_short();
  return weft::run(argc, argv);
}
