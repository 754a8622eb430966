#include "recipes/checkpoint_folders.h"

#include <algorithm>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace weft {

std::string checkpoint_name(int64_t step) { return absl::StrFormat("step-%08d", step); }

int64_t checkpoint_step(const std::string& name) {
  constexpr size_t kPrefix = 5;
  int64_t step = -1;
  const bool number = name.size() > kPrefix && absl::SimpleAtoi(name.substr(kPrefix), &step);
  return number && step >= 0 && name == checkpoint_name(step) ? step : -1;
}

std::vector<int64_t> checkpoint_steps(const fs::path& folder) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
    const int64_t step = checkpoint_step(i->path().filename().string());
    if (step >= 0) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

bool is_checkpoint(const fs::path& path) {
  std::error_code error;
  return checkpoint_step(path.filename().string()) >= 0 ||
         fs::exists(path / "manifest.json", error);
}

fs::path checkpoint_place(const fs::path& path) {
  std::error_code error;
  const fs::path inner = path / "checkpoints";
  return fs::is_directory(inner, error) ? inner : path;
}

absl::Status no_checkpoint(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return bad_input(path.string(), ": does not exist");
  if (!fs::is_directory(path, error)) {
    return bad_input(path.string(), ": is a file, but a checkpoint is a folder");
  }
  return bad_input(path.string(),
                   ": holds no checkpoint (a folder with manifest.json, a run directory with "
                   "checkpoints/step-*, or a Hugging Face folder with config.json)");
}

absl::StatusOr<std::vector<fs::path>> checkpoint_folders(const fs::path& place,
                                                         std::string& damages) {
  std::error_code error;
  if (const fs::directory_iterator listed(place, error);
      error && error != std::errc::no_such_file_or_directory) {
    return unreadable_input(place.string(), ": cannot be listed: ", error.message());
  }
  const fs::path named = place / fs::read_symlink(place / kLatestLink, error);
  if (!error && !fs::exists(named, error)) {
    damages += "\n  " + named.string() + ": `latest` names it, but it is gone";
  }
  std::vector<fs::path> folders;
  for (const int64_t step : checkpoint_steps(place)) {
    folders.push_back(place / checkpoint_name(step));
  }
  return folders;
}

}  // namespace weft
