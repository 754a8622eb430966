#include "trainer/run_metrics.h"

#include "absl/strings/str_cat.h"

#include "models/flops.h"
#include "recipes/load.h"
#include "trainer/machine.h"
#include "trainer/plan_steps.h"
#include "trainer/progress.h"

namespace weft {
namespace {

// Router balance of each layer that has experts, under the layer's number in the model.
void add_expert_load(const ModelConfig& config, const StepResult& result, MetricsRow& row) {
  size_t next = 0;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (!std::holds_alternative<MoeConfig>(config.layers[i].feed_forward)) continue;
    if (next >= result.expert_load.size()) return;
    row.add(absl::StrCat("moe.", i, ".max_load"), result.expert_load[next++]);
  }
}

}  // namespace

absl::StatusOr<RunMetrics> RunMetrics::open(const Recipe& recipe, const ModelConfig& config,
                                            const Runtime& runtime, const RunDirectory& directory,
                                            const TrainingState& state, Log& log) {
  WEFT_ASSIGN_OR_RETURN(MetricsWriter writer, MetricsWriter::open(directory.metrics_file()));
  WEFT_RETURN_IF_ERROR(sync_folder(directory.path()));
  RunMetrics metrics(recipe, config, runtime, std::move(writer), log);
  if (recipe.logging.tensorboard) {
    WEFT_ASSIGN_OR_RETURN(EventWriter events,
                          EventWriter::open(directory.tensorboard_folder(), state.step));
    WEFT_RETURN_IF_ERROR(events.write_text(
        state.step, "recipe", absl::StrCat("```yaml\n", write_recipe(recipe), "```\n")));
    metrics.events_ = std::make_unique<EventWriter>(std::move(events));
  }
  metrics.peak_flops_per_s_ = measure_matmul_peak(runtime.types.compute, runtime.types.device);
  log.info("matrix-multiply peak: ", amount_text(metrics.peak_flops_per_s_, "FLOP/s"), " measured");
  metrics.pause();
  return metrics;
}

absl::Status RunMetrics::write(int64_t step, const MetricsRow& row) {
  WEFT_RETURN_IF_ERROR(writer_.write(row));
  if (!events_) return absl::OkStatus();
  Scalars scalars;
  for (const auto& [name, value] : row.values) {
    if (name == "step") continue;
    scalars.emplace_back(name, std::visit([](auto v) { return static_cast<double>(v); }, value));
  }
  return events_->write_scalars(step, scalars);
}

void RunMetrics::draw_progress(const TrainingState& state, const StepResult& result,
                               double learning_rate, double step_seconds,
                               const StageConfig& stage) {
  constexpr double kMemory = 0.9;
  smoothed_step_seconds_ = smoothed_step_seconds_ == 0
                               ? step_seconds
                               : kMemory * smoothed_step_seconds_ + (1 - kMemory) * step_seconds;
  const int64_t total = total_steps(*recipe_);
  log_->transient(progress_line(
      {.step = state.step,
       .total_steps = total,
       .loss = result.loss,
       .bits_per_byte = bits_per_byte_,
       .learning_rate = learning_rate,
       .tokens_per_s = static_cast<double>(stage.batch_tokens) / smoothed_step_seconds_,
       .seconds_left = smoothed_step_seconds_ * static_cast<double>(total - state.step)}));
}

absl::Status RunMetrics::step(const TrainingState& state, const StepResult& result,
                              double learning_rate, const StageConfig& stage) {
  const auto now = std::chrono::steady_clock::now();
  const double step_seconds = std::chrono::duration<double>(now - last_).count();
  last_ = now;
  seconds_ += step_seconds;
  ++steps_;
  draw_progress(state, result, learning_rate, step_seconds, stage);
  if (state.step % recipe_->logging.every_steps != 0 && state.step != total_steps(*recipe_)) {
    return absl::OkStatus();
  }
  MetricsRow row;
  row.add("step", state.step);
  row.add("tokens", state.tokens);
  row.add("loss", result.loss);
  row.add("aux_loss", result.aux_loss);
  if (recipe_->loss != Penalties{}) row.add("penalty", result.penalty);
  row.add("learning_rate", learning_rate);
  row.add("grad_norm", result.grad_norm);
  row.add("skipped", state.skipped);
  add_expert_load(config_, result, row);
  const double tokens_per_s =
      static_cast<double>(steps_) * static_cast<double>(stage.batch_tokens) / seconds_;
  const double flops = tokens_per_s * 3 * forward_flops_per_token(config_, stage.sequence_length);
  row.add("step_ms", 1e3 * seconds_ / static_cast<double>(steps_));
  row.add("tokens_per_s", tokens_per_s);
  row.add("model_flops_per_s", flops);
  row.add("peak_share", flops / peak_flops_per_s_);
  row.add("memory_bytes", memory_in_use(runtime_.types.device));
  seconds_ = 0;
  steps_ = 0;
  log_->info(record_line(row));
  return write(state.step, row);
}

void RunMetrics::validation_progress(const std::string& source, int64_t done, int64_t total) {
  log_->transient(absl::StrCat("evaluating ", source, ": ", 100 * done / total, " %"));
}

absl::Status RunMetrics::validation(const TrainingState& state, const std::string& source,
                                    const Evaluation& result) {
  const std::string prefix = "validation." + source;
  MetricsRow row;
  row.add("step", state.step);
  row.add("tokens", state.tokens);
  row.add(prefix + ".loss", result.loss());
  row.add(prefix + ".perplexity", result.perplexity());
  if (result.text_bytes > 0) {
    row.add(prefix + ".bits_per_byte", result.bits_per_byte());
    bits_per_byte_ = result.bits_per_byte();
  }
  log_->info(record_line(row));
  return write(state.step, row);
}

}  // namespace weft
