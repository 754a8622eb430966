#include "trainer/run_directory.h"

#include <limits>
#include <sstream>
#include <system_error>

#include "base/json.h"

namespace weft {
namespace {

constexpr char kLockFile[] = ".lock";
// A line of metrics is flat; validation of many sources makes it long.
constexpr JsonLimits kLineLimits = {.depth = 4, .values = 1 << 16};
constexpr char kAside[] = "before-restart-";

}  // namespace

absl::StatusOr<RunDirectory> RunDirectory::open(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    return bad_input(path.string(), ": the run directory cannot be made: ", error.message());
  WEFT_ASSIGN_OR_RETURN(FileLock lock, FileLock::take(path / kLockFile));
  return RunDirectory(path, std::move(lock));
}

absl::Status RunDirectory::set_aside() const {
  std::vector<fs::path> old;
  for (const fs::path& part : {path_ / kRecipeFile, metrics_file(), tensorboard_folder(),
                               log_file(), checkpoints_.path()}) {
    if (fs::exists(part) && !fs::is_empty(part)) old.push_back(part);
  }
  if (old.empty()) return absl::OkStatus();
  int number = 1;
  while (fs::exists(path_ / (kAside + std::to_string(number)))) ++number;
  const fs::path aside = path_ / (kAside + std::to_string(number));
  std::error_code error;
  fs::create_directory(aside, error);
  for (const fs::path& from : old) {
    if (!error) fs::rename(from, aside / from.filename(), error);
  }
  if (error) return bad_input(aside.string(), ": cannot hold the old run: ", error.message());
  return absl::OkStatus();
}

absl::Status RunDirectory::write_recipe(const std::string& text) const {
  // A finished run's directory may be on a full disk.
  const fs::path file = path_ / kRecipeFile;
  const auto present = read_file(file, static_cast<int64_t>(text.size()));
  return present.ok() && *present == text ? absl::OkStatus() : write_file(file, text);
}

absl::Status RunDirectory::cut_metrics(int64_t step) const {
  if (!fs::exists(metrics_file())) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const std::string text,
                        read_file(metrics_file(), std::numeric_limits<int64_t>::max()));
  std::string kept;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto row = parse_json(line, kLineLimits);
    if (row.ok() && find_count(*row, "step").value_or(step + 1) <= step) kept += line + "\n";
  }
  return kept == text ? absl::OkStatus() : write_file(metrics_file(), kept);
}

}  // namespace weft
