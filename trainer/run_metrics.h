#pragma once
// What a run reports, and where: a row of metrics.jsonl a logged update or evaluation, the same
// numbers as TensorBoard scalars, a progress line on a terminal and plain lines elsewhere. Times
// and memory aside, every number is the same bits for the same recipe.
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/status.h"
#include "models/config.h"
#include "recipes/recipe.h"
#include "trainer/evaluate.h"
#include "trainer/metrics.h"
#include "trainer/run_directory.h"
#include "trainer/runtime.h"
#include "trainer/step.h"
#include "trainer/tensorboard.h"
#include "trainer/training_state.h"

namespace weft {

class RunMetrics final {
 public:
  // Opens the files for a run that has done `state.step` updates, and measures the matrix-multiply
  // peak.
  static absl::StatusOr<RunMetrics> open(const Recipe& recipe, const ModelConfig& config,
                                         const Runtime& runtime, const RunDirectory& directory,
                                         const TrainingState& state, Log& log);

  // After an update: `state` counts it.
  absl::Status step(const TrainingState& state, const StepResult& result, double learning_rate,
                    const StageConfig& stage);
  // One source of an evaluation.
  absl::Status validation(const TrainingState& state, const std::string& source,
                          const Evaluation& result);
  void validation_progress(const std::string& source, int64_t done, int64_t total);
  // Before a checkpoint, so that no power cut leaves a checkpoint without the rows before it.
  absl::Status sync() { return writer_.sync(); }
  // Time since the last update that was not training (evaluation, checkpoint) is left out of
  // tokens/s.
  void pause() { last_ = std::chrono::steady_clock::now(); }

 private:
  RunMetrics(const Recipe& recipe, const ModelConfig& config, const Runtime& runtime,
             MetricsWriter writer, Log& log)
      : recipe_(&recipe),
        config_(config),
        runtime_(runtime),
        writer_(std::move(writer)),
        log_(&log) {}
  absl::Status write(int64_t step, const MetricsRow& row);
  void draw_progress(const TrainingState& state, const StepResult& result, double learning_rate,
                     double step_seconds, const StageConfig& stage);

  const Recipe* recipe_;
  ModelConfig config_;
  Runtime runtime_;
  MetricsWriter writer_;
  std::unique_ptr<EventWriter> events_;  // null without logging.tensorboard
  Log* log_;
  double peak_flops_per_s_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  // Since the last logged update.
  double seconds_ = 0;
  int64_t steps_ = 0;
  double smoothed_step_seconds_ = 0;
  std::optional<double> bits_per_byte_;
};

}  // namespace weft
