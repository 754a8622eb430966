#include "trainer/checkpoint.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace weft {
namespace {

constexpr int64_t kShardBytes = 2'000'000'000;
constexpr char kLatest[] = "latest";

// N of "step-<8 or more digits>", or -1.
int64_t step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + 8 || name.size() > 24) return -1;
  const std::string digits = name.substr(kPrefix.size());
  const bool number = std::all_of(digits.begin(), digits.end(),
                                  [](unsigned char c) { return std::isdigit(c) != 0; });
  return number ? std::atoll(digits.c_str()) : -1;
}

absl::StatusOr<Checkpoint> open_checkpoint(const fs::path& folder) {
  WEFT_ASSIGN_OR_RETURN(TensorStore store, TensorStore::open(folder, TensorStore::Verify::kFull));
  WEFT_ASSIGN_OR_RETURN(const std::string text, store.text(kStateFile));
  auto state = state_from_json(text);
  if (!state.ok()) return in_context(state.status(), (folder / kStateFile).string());
  return Checkpoint{std::move(store), *state};
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

absl::Status make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return bad_input(path.string(), ": cannot be made: ", error.message());
  return absl::OkStatus();
}

}  // namespace

fs::path CheckpointFolder::folder(int64_t step) const {
  return path_ / absl::StrFormat("step-%08d", step);
}

std::vector<int64_t> CheckpointFolder::steps() const {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    const int64_t step = step_of(entry.path().filename().string());
    if (step >= 0) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

absl::Status CheckpointFolder::preflight(int64_t bytes, int64_t checkpoints) const {
  WEFT_RETURN_IF_ERROR(make_folder(path_));
  const fs::path probe = path_ / ".probe";
  if (const absl::Status written = write_file(probe, "weft\n"); !written.ok()) {
    return bad_input(path_.string(), ": cannot be written: ", std::string(written.message()));
  }
  remove_quietly(probe);
  WEFT_ASSIGN_OR_RETURN(const int64_t available, free_bytes(path_));
  const int64_t missing = std::max<int64_t>(1, checkpoints - static_cast<int64_t>(steps().size()));
  if (available / missing < bytes) {
    return bad_input(path_.string(), ": has ", available, " bytes free, but ", missing,
                     " checkpoints of ", bytes,
                     " bytes are to be kept: free some space or lower checkpoint.keep");
  }
  return absl::OkStatus();
}

absl::Status CheckpointFolder::write(const fs::path& folder,
                                     const CheckpointContents& contents) const {
  WEFT_RETURN_IF_ERROR(make_folder(folder));
  TensorStoreWriter writer(folder, kShardBytes);
  WEFT_RETURN_IF_ERROR(writer.add_tensors("model", contents.parameters));
  WEFT_RETURN_IF_ERROR(writer.add_tensors("optimizer", contents.optimizer));
  WEFT_RETURN_IF_ERROR(writer.add_text(kRecipeFile, contents.recipe));
  WEFT_RETURN_IF_ERROR(writer.add_text(kModelFile, contents.model));
  WEFT_RETURN_IF_ERROR(writer.add_text(kTokenizerFile, contents.tokenizer));
  WEFT_RETURN_IF_ERROR(writer.add_text(kStateFile, to_json(contents.state)));
  return writer.finish();
}

absl::Status CheckpointFolder::point_latest_to(int64_t step) const {
  const fs::path temporary = path_ / "latest.tmp";
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_directory_symlink(folder(step).filename(), temporary, error);
  if (!error) fs::rename(temporary, path_ / kLatest, error);
  if (error) {
    return run_failure((path_ / kLatest).string(), ": cannot be replaced: ", error.message());
  }
  return sync_folder(path_);
}

void CheckpointFolder::retain(const Retention& retention, int64_t newest) const {
  int64_t kept = 0;
  for (const int64_t step : steps()) {
    const bool milestone = retention.keep_every > 0 && step % retention.keep_every == 0;
    if (kept++ < retention.keep || milestone || step == newest) continue;
    // The name goes first, so that a half deleted folder is not taken for a checkpoint.
    const fs::path doomed = folder(step).string() + ".deleted.tmp";
    std::error_code error;
    fs::rename(folder(step), doomed, error);
    remove_quietly(doomed);
  }
}

absl::Status CheckpointFolder::save(const CheckpointContents& contents, const Retention& retention,
                                    const std::function<void(const char*)>& at) const {
  const auto reached = [&](const char* point) {
    if (at) at(point);
  };
  WEFT_RETURN_IF_ERROR(make_folder(path_));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    if (entry.path().extension() == ".tmp") remove_quietly(entry.path());
  }
  const int64_t step = contents.state.step;
  const fs::path temporary = folder(step).string() + ".tmp";
  reached("start");
  if (absl::Status written = write(temporary, contents); !written.ok()) {
    remove_quietly(temporary);
    return in_context(written, absl::StrCat("checkpoint of update ", step));
  }
  reached("written");
  // A damaged folder of the same step may stand there after a fall-back.
  if (fs::exists(folder(step), error)) {
    fs::rename(folder(step), folder(step).string() + ".deleted.tmp", error);
  }
  fs::rename(temporary, folder(step), error);
  if (error) {
    remove_quietly(temporary);
    return run_failure(folder(step).string(), ": cannot be put in place: ", error.message());
  }
  WEFT_RETURN_IF_ERROR(sync_folder(path_));
  reached("renamed");
  WEFT_RETURN_IF_ERROR(point_latest_to(step));
  reached("linked");
  remove_quietly(folder(step).string() + ".deleted.tmp");
  retain(retention, step);
  reached("retained");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Checkpoint>> CheckpointFolder::find_latest(Log& log) const {
  const std::vector<int64_t> candidates = steps();
  std::string damages;
  for (const int64_t step : candidates) {
    auto checkpoint = open_checkpoint(folder(step));
    if (checkpoint.ok()) {
      if (!damages.empty()) {
        log.warning("damaged checkpoints are passed over:", damages, "\n  going back to ",
                    folder(step).string());
      }
      return std::optional<Checkpoint>(*std::move(checkpoint));
    }
    damages += "\n  " + std::string(checkpoint.status().message());
  }
  if (candidates.empty()) return std::optional<Checkpoint>();
  return bad_input(path_.string(), ": no checkpoint is whole; --restart begins anew:", damages);
}

absl::StatusOr<Checkpoint> CheckpointFolder::open(const fs::path& path, Log& log) {
  std::error_code error;
  if (fs::exists(path / "manifest.json", error)) return open_checkpoint(path);
  for (const fs::path& place : {path / "checkpoints", path}) {
    if (!fs::is_directory(place, error)) continue;
    WEFT_ASSIGN_OR_RETURN(std::optional<Checkpoint> latest,
                          CheckpointFolder(place).find_latest(log));
    if (latest.has_value()) return *std::move(latest);
  }
  return bad_input(path.string(),
                   fs::exists(path, error)
                       ? ": holds no checkpoint (a folder with manifest.json, or a run "
                         "directory with checkpoints/step-*)"
                       : ": does not exist");
}

}  // namespace weft
