#pragma once
// The checkpoints of a run: folders step-<8 digits> that exist whole or not at all, and the
// symbolic link `latest` (spec/parallel.md 14.6). docs/checkpoint.md describes the files.
//
// A checkpoint is written into step-N.tmp, flushed, renamed to step-N, and then `latest` is
// replaced by rename; only after that older ones are deleted. A process that dies at any point
// leaves the checkpoint before it in place.
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/safetensors.h"
#include "base/status.h"
#include "parallel/tensor_store.h"
#include "recipes/stored_model.h"
#include "trainer/training_state.h"

namespace weft {

// And kRecipeFile (recipes/stored_model.h).
inline constexpr char kModelFile[] = "model.yaml";  // its layers written out
inline constexpr char kTokenizerFile[] = "tokenizer.json";
inline constexpr char kStateFile[] = "state.json";  // TrainingState

struct CheckpointContents {
  TrainingState state;
  std::string recipe, model, tokenizer;  // texts of the files above
  std::vector<NamedTensor> parameters;   // masters
  std::vector<NamedTensor> optimizer;    // "<name>.m", "<name>.v"
  // Files of the Hugging Face checkpoint that the run comes from, by their names there.
  std::map<std::string, std::string> published = {};
};

// A checkpoint that was opened and verified.
struct Checkpoint {
  TensorStore store;
  TrainingState state;
};

struct Retention {
  int64_t keep = 3;        // the newest
  int64_t keep_every = 0;  // and those of multiples of this many updates; 0: none
};

class CheckpointFolder final {
 public:
  // `path` is the folder "checkpoints" of a run; it is made by preflight or save.
  explicit CheckpointFolder(fs::path path) : path_(std::move(path)) {}

  // Makes the folder; bad input if it cannot be written (a probe file), or if there is no room for
  // `count` more checkpoints of `bytes`. REQUIRES: count >= 1.
  absl::Status preflight(int64_t bytes, int64_t count) const;

  // Writes a checkpoint and deletes what `retention` does not keep. On an error what was there
  // before is untouched and the unfinished folder is removed. A folder of the same step is
  // replaced. `at` (tests) is called with the name of each point of the protocol as it is reached:
  // start, written, renamed, linked, retained.
  absl::Status save(const CheckpointContents& contents, const Retention& retention,
                    const std::function<void(const char*)>& at = {}) const;

  // Renames the folders of later updates than `step`, the one that a run goes on from, to
  // step-N.damaged, so that retention does not count them, and points `latest` to `step`.
  // REQUIRES: the run directory's lock.
  absl::Status set_aside_after(int64_t step) const;

  // The newest whole checkpoint; damaged ones that are newer are logged as a warning. Empty if
  // there is none at all; bad input that names each if there are some but none is whole, also if
  // only `latest` is left of them. Changes nothing. newest_checkpoint has the rule.
  absl::StatusOr<std::optional<Checkpoint>> find_latest(Log& log) const;

  // A checkpoint that a user names: its own folder, a folder of checkpoints, or a run directory.
  static absl::StatusOr<Checkpoint> open(const fs::path& path, Log& log);

  // Updates of the finished folders, falling.
  std::vector<int64_t> steps() const;
  const fs::path& path() const { return path_; }

 private:
  fs::path folder(int64_t step) const;
  absl::Status write(const fs::path& folder, const CheckpointContents& contents) const;
  absl::Status put_in_place(const fs::path& temporary, int64_t step) const;
  absl::Status point_latest_to(int64_t step) const;
  void retain(const Retention& retention, int64_t newest) const;

  fs::path path_;
};

}  // namespace weft
