#pragma once
// The directory of a run (runs/<name>): recipe.yaml, metrics.jsonl, tensorboard/, log.<rank>.txt
// and checkpoints/, held by one process at a time.
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "trainer/checkpoint.h"

namespace weft {

class RunDirectory final {
 public:
  // Makes the directory if it is absent and locks it. A directory that cannot be made or written,
  // or that another process holds, is bad input.
  static absl::StatusOr<RunDirectory> open(const fs::path& path);

  // Moves the files of the run that is there, and nothing else, to before-restart-<n>/ inside it.
  absl::Status set_aside() const;

  const fs::path& path() const { return path_; }
  fs::path log_file() const { return path_ / "log.0.txt"; }
  fs::path metrics_file() const { return path_ / "metrics.jsonl"; }
  fs::path tensorboard_folder() const { return path_ / "tensorboard"; }
  const CheckpointFolder& checkpoints() const { return checkpoints_; }

  // The resolved recipe as recipe.yaml.
  absl::Status write_recipe(const std::string& text) const;
  // Drops the lines of metrics.jsonl after `step`, and a last line that was cut off.
  absl::Status cut_metrics(int64_t step) const;

 private:
  RunDirectory(fs::path path, FileLock lock)
      : path_(std::move(path)), lock_(std::move(lock)), checkpoints_(path_ / "checkpoints") {}
  fs::path path_;
  FileLock lock_;
  CheckpointFolder checkpoints_;
};

}  // namespace weft
