#include "trainer/loop.h"

#include <algorithm>
#include <map>
#include <memory>

#include <ATen/Parallel.h>

#include "models/causal_lm.h"
#include "optim/optimizer.h"
#include "recipes/checkpoint_folders.h"
#include "recipes/load.h"
#include "trainer/checkpoint.h"
#include "trainer/evaluate.h"
#include "trainer/guard.h"
#include "trainer/initial_weights.h"
#include "trainer/out_of_memory.h"
#include "trainer/plan_steps.h"
#include "trainer/profile_updates.h"
#include "trainer/run_data.h"
#include "trainer/run_directory.h"
#include "trainer/run_metrics.h"
#include "trainer/runtime.h"
#include "trainer/same_run.h"
#include "trainer/signals.h"
#include "trainer/step.h"

namespace weft {
namespace {

std::string tokenizer_json(const TokenizerConfig& config) {
  const std::string kind = internal::join_parts("{\"kind\": \"", name_of(config.kind), "\"");
  if (config.kind == TokenizerKind::kBytes) return kind + "}\n";
  return internal::join_parts(kind, ", \"end_id\": ", config.end_id, "}\n");
}

// Parameters and two moments, in the masters' type.
int64_t checkpoint_bytes(const ParameterTable& table, const Runtime& runtime) {
  return 3 * table.numel() * static_cast<int64_t>(c10::elementSize(runtime.types.master));
}

// Whether a run is there to go on with, so that what it began with is not needed any more.
bool resumes(const fs::path& run_dir) { return !checkpoint_steps(run_dir / "checkpoints").empty(); }

// Everything that a run holds while it trains.
class Run final {
 public:
  Run(const Recipe& recipe, const TrainOptions& options, Runtime runtime,
      std::vector<StageData> data, RunDirectory directory, Log& log)
      : recipe_(recipe),
        options_(options),
        runtime_(runtime),
        data_(std::move(data)),
        directory_(std::move(directory)),
        log_(log),
        config_(build_config(recipe.model)),
        table_(parameter_table(config_)),
        store_(table_, runtime.types),
        optimizer_(recipe.optim, store_),
        model_(config_, store_, recipe.memory) {
    state_.threads = runtime.threads;
    state_.compute = compute_name(runtime);
    for (const StageData& stage : data_) {
      for (const DataSource& source : stage.sources) {
        state_.data.push_back(source.shards.fingerprint());
      }
    }
  }

  // Parameters, moments and state from the newest valid checkpoint, or fresh ones that begin with
  // `initial`.
  absl::Status restore_or_initialize(InitialWeights initial);
  bool finished() const { return state_.step == total_steps(recipe_); }
  // The files that describe the run, as they are after the updates that are done.
  absl::Status describe_run() const;
  // What must hold before the first update.
  absl::Status check_space() const;
  absl::StatusOr<TrainEnd> loop();

 private:
  absl::Status restore(const Checkpoint& checkpoint);
  absl::Status update(const StepPlace& place, RunMetrics& metrics);
  absl::Status after_update(RunMetrics& metrics, bool stopping);
  absl::Status evaluate_all(RunMetrics& metrics);
  absl::Status save();
  void open_loader(const StepPlace& place);
  bool is_due(int64_t every) const { return every > 0 && state_.step % every == 0; }

  const Recipe& recipe_;
  const TrainOptions& options_;
  Runtime runtime_;
  std::vector<StageData> data_;
  RunDirectory directory_;
  Log& log_;
  ModelConfig config_;
  ParameterTable table_;
  ParameterStore store_;
  Optimizer optimizer_;
  CausalLM model_;
  TrainingState state_;
  std::map<std::string, std::string> published_;  // files from Hugging Face, for the checkpoints
  std::unique_ptr<Loader> loader_;
  size_t loader_stage_ = 0;
  int64_t saved_step_ = -1;
};

absl::Status Run::restore(const Checkpoint& checkpoint) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, checkpoint.store.text(kRecipeFile));
  WEFT_ASSIGN_OR_RETURN(const Recipe stored, parse_recipe(text, "the checkpoint's recipe"));
  WEFT_RETURN_IF_ERROR(
      check_same_run({stored, checkpoint.state}, {recipe_, state_}, directory_.path()));
  const int threads = checkpoint.state.threads;
  state_ = checkpoint.state;
  state_.threads = runtime_.threads;
  for (Parameter& p : store_.parameters()) {
    WEFT_RETURN_IF_ERROR(checkpoint.store.read(p.spec->name, p.master));
  }
  for (const NamedTensor& moment : optimizer_.state()) {
    WEFT_RETURN_IF_ERROR(checkpoint.store.read(moment.name, moment.tensor));
  }
  store_.refresh_compute();
  WEFT_ASSIGN_OR_RETURN(published_, published_files(checkpoint.store));
  WEFT_RETURN_IF_ERROR(directory_.checkpoints().set_aside_after(state_.step));
  saved_step_ = state_.step;
  log_.info("resuming from ", checkpoint.store.folder().string(), " after ", state_.step,
            " updates");
  if (threads != runtime_.threads) {
    log_.warning("the run used ", threads, " threads and goes on with ", runtime_.threads,
                 ": numbers may differ in their last bits");
  }
  if (!(stored.memory.mini_sequences == recipe_.memory.mini_sequences)) {
    log_.warning("the run used other memory.mini_sequences: numbers may differ in their last bits");
  }
  return absl::OkStatus();
}

absl::Status Run::restore_or_initialize(InitialWeights initial) {
  WEFT_ASSIGN_OR_RETURN(const std::optional<Checkpoint> latest,
                        directory_.checkpoints().find_latest(log_));
  if (latest.has_value()) return restore(*latest);
  if (recipe_.init.from != InitFrom::kRandom && !initial.source.has_value()) {
    return run_failure(directory_.path().string(),
                       ": its checkpoints went away while the run was about to go on from them");
  }
  WEFT_RETURN_IF_ERROR(fill_with(initial, recipe_, store_, log_));
  published_ = std::move(initial.published);
  return absl::OkStatus();
}

absl::Status Run::describe_run() const {
  WEFT_RETURN_IF_ERROR(directory_.write_recipe(write_recipe(recipe_)));
  return directory_.cut_metrics(state_.step);
}

absl::Status Run::check_space() const {
  const CheckpointFolder& checkpoints = directory_.checkpoints();
  // A new one is whole before an old one is deleted.
  const int64_t present = static_cast<int64_t>(checkpoints.steps().size());
  return checkpoints.preflight(checkpoint_bytes(table_, runtime_),
                               std::max<int64_t>(1, recipe_.checkpoint.keep + 1 - present));
}

void Run::open_loader(const StepPlace& place) {
  const StageConfig& stage = recipe_.stages[place.stage];
  loader_ = std::make_unique<Loader>(
      SequenceOrder(std::move(data_[place.stage].sources), stage.sequence_length,
                    static_cast<uint64_t>(recipe_.seed), stage.name),
      stage.batch_tokens / stage.sequence_length, *stage.micro_batch_tokens / stage.sequence_length,
      place.step, stage.steps);
  loader_stage_ = place.stage;
}

absl::Status Run::update(const StepPlace& place, RunMetrics& metrics) {
  const StageConfig& stage = recipe_.stages[place.stage];
  if (!loader_ || loader_stage_ != place.stage) open_loader(place);
  const std::vector<Batch> batches = loader_->next();
  const StepResult result =
      compute_gradients(model_, store_, batches, recipe_.loss, recipe_.optim.clip_norm);
  const double lr = learning_rate(stage.schedule, place.step, stage.steps);
  const Verdict verdict = judge(recipe_.guard, result.loss, result.grad_norm, state_);
  if (verdict == Verdict::kUpdate) {
    optimizer_.update(state_.step, lr, result.clip_factor);
  } else {
    log_.warning("update ", state_.step + 1, " skipped: loss ", result.loss, ", gradient norm ",
                 result.grad_norm, " (running mean ", state_.grad_norm_mean, ")");
    store_.clear_gradients();
  }
  ++state_.step;
  state_.tokens += stage.batch_tokens;
  WEFT_RETURN_IF_ERROR(metrics.step(state_, result, lr, stage));
  if (verdict != Verdict::kStop) return absl::OkStatus();
  const bool at_once = state_.skipped_in_a_row < recipe_.guard.stop_after;
  return run_failure("stopped after ", state_.skipped_in_a_row, " skipped updates in a row (guard.",
                     at_once ? "skip_nonfinite: false" : "stop_after",
                     "): the loss or gradient norm is not finite or far too large; the last good "
                     "checkpoint is update ",
                     saved_step_);
}

absl::Status Run::evaluate_all(RunMetrics& metrics) {
  const StepPlace place = locate(recipe_, std::max<int64_t>(0, state_.step - 1));
  const StageConfig& stage = recipe_.stages[place.stage];
  for (const ValidationData& source : data_[place.stage].validation) {
    const EvaluationOptions options{.sequence_length = stage.sequence_length,
                                    .max_tokens = recipe_.validation.max_tokens,
                                    .rows = *stage.micro_batch_tokens / stage.sequence_length,
                                    .device = runtime_.types.device,
                                    .progress = [&](int64_t done, int64_t total) {
                                      metrics.validation_progress(source.name, done, total);
                                      return true;
                                    }};
    Evaluation result = evaluate(model_, source.shards, options);
    // Bytes are known of what weft's own tokenizer made.
    if (!Tokenizer(stage.data.tokenizer).reads_text()) result.text_bytes = 0;
    WEFT_RETURN_IF_ERROR(metrics.validation(state_, source.name, result));
  }
  return absl::OkStatus();
}

absl::Status Run::save() {
  CheckpointContents contents{.state = state_,
                              .recipe = write_recipe(recipe_),
                              .model = write_model(recipe_.model),
                              .tokenizer = tokenizer_json(recipe_.stages[0].data.tokenizer),
                              .parameters = {},
                              .optimizer = optimizer_.state(),
                              .published = published_};
  for (const Parameter& p : store_.parameters()) {
    contents.parameters.push_back({p.spec->name, p.master.detach()});
  }
  WEFT_RETURN_IF_ERROR(directory_.checkpoints().save(
      contents, {recipe_.checkpoint.keep, recipe_.checkpoint.keep_every}));
  saved_step_ = state_.step;
  return absl::OkStatus();
}

absl::Status Run::after_update(RunMetrics& metrics, bool stopping) {
  const bool last = state_.step == total_steps(recipe_);
  if (last || is_due(recipe_.validation.every_steps)) {
    WEFT_RETURN_IF_ERROR(evaluate_all(metrics));
  }
  if (last || stopping || is_due(recipe_.checkpoint.every_steps)) {
    WEFT_RETURN_IF_ERROR(metrics.sync());
    WEFT_RETURN_IF_ERROR(save());
  }
  metrics.pause();
  return absl::OkStatus();
}

absl::StatusOr<TrainEnd> Run::loop() {
  const int64_t total = total_steps(recipe_);
  const StopSignals signals;
  WEFT_ASSIGN_OR_RETURN(RunMetrics metrics,
                        RunMetrics::open(recipe_, config_, runtime_, directory_, state_, log_));
  std::optional<ProfileUpdates> profile;
  if (options_.profile) profile.emplace(directory_.path() / "profile.json", runtime_, log_);
  bool stopping = options_.stop_after.has_value() && *options_.stop_after <= state_.step;
  while (state_.step < total && !stopping) {
    if (profile) profile->before_update();
    WEFT_RETURN_IF_ERROR(update(locate(recipe_, state_.step), metrics));
    stopping = signals.requested() ||
               (options_.stop_after.has_value() && *options_.stop_after <= state_.step);
    if (profile) WEFT_RETURN_IF_ERROR(profile->after_update(stopping || state_.step == total));
    WEFT_RETURN_IF_ERROR(after_update(metrics, stopping));
  }
  if (finished()) {
    log_.info("finished ", total, " updates; ", directory_.path().string());
    return TrainEnd::kFinished;
  }
  if (saved_step_ != state_.step) WEFT_RETURN_IF_ERROR(save());
  log_.info("stopped after ", state_.step, " of ", total, " updates; the same command goes on");
  return TrainEnd::kStopped;
}

}  // namespace

absl::StatusOr<TrainEnd> train(const Recipe& recipe, const TrainOptions& options, Log& log) {
  const Runtime runtime = resolve_runtime(recipe);
  if (options.profile && !runtime.types.device.is_cpu()) {
    return bad_input("--profile is for runs on the CPU: what a GPU does it would not see");
  }
  apply(runtime);
  WEFT_ASSIGN_OR_RETURN(std::vector<StageData> data, open_data(recipe, cache_folder(), log));
  InitialWeights initial;
  if (options.restart || !resumes(options.run_dir)) {
    WEFT_ASSIGN_OR_RETURN(initial, open_initial_weights(recipe, options.run_dir, log));
  }
  WEFT_ASSIGN_OR_RETURN(RunDirectory directory, RunDirectory::open(options.run_dir));
  if (options.restart) {
    const ParameterTable table = parameter_table(build_config(recipe.model));
    WEFT_RETURN_IF_ERROR(directory.checkpoints().preflight(checkpoint_bytes(table, runtime),
                                                           recipe.checkpoint.keep + 1));
    WEFT_RETURN_IF_ERROR(directory.set_aside());
  }
  if (!log.attach(directory.log_file().string())) {
    return bad_input(directory.log_file().string(), ": cannot be written");
  }
  log.info(recipe.name, ": ", describe(runtime), ", ", directory.path().string());
  try {
    Run run(recipe, options, runtime, std::move(data), std::move(directory), log);
    WEFT_RETURN_IF_ERROR(run.restore_or_initialize(std::move(initial)));
    if (run.finished()) {
      WEFT_RETURN_IF_ERROR(run.describe_run());
      log.info("finished: all updates are done; ", options.run_dir.string());
      return TrainEnd::kFinished;
    }
    WEFT_RETURN_IF_ERROR(run.check_space());
    WEFT_RETURN_IF_ERROR(run.describe_run());
    return run.loop();
  } catch (const std::exception& error) {
    // An exception is LibTorch's way to say that memory is missing; any other is for main.
    const std::optional<absl::Status> failure = out_of_memory(error, recipe, runtime);
    if (!failure.has_value()) throw;
    return *failure;
  }
}

}  // namespace weft
