#include "trainer/checkpoint.h"

#include <system_error>

#include "absl/strings/str_cat.h"

#include "recipes/checkpoint_folders.h"

namespace weft {
namespace {

constexpr int64_t kShardBytes = 2'000'000'000;

fs::path deleted_name(const fs::path& folder) { return folder.string() + ".deleted.tmp"; }

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
  if (error) return run_failure(path.string(), ": cannot be made: ", error.message());
  return absl::OkStatus();
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
    entries.push_back(i->path());
  }
  return entries;
}

}  // namespace

fs::path CheckpointFolder::folder(int64_t step) const { return path_ / checkpoint_name(step); }

std::vector<int64_t> CheckpointFolder::steps() const { return checkpoint_steps(path_); }

absl::Status CheckpointFolder::preflight(int64_t bytes, int64_t count) const {
  absl::Status writable = make_folder(path_);
  if (writable.ok()) writable = sync_folder(fs::absolute(path_).parent_path());
  const fs::path probe = path_ / ".probe";
  if (writable.ok()) writable = write_file(probe, "weft\n");
  if (!writable.ok()) return bad_input(std::string(writable.message()));
  remove_quietly(probe);
  WEFT_ASSIGN_OR_RETURN(const int64_t available, free_bytes(path_));
  if (available / count < bytes) {
    return bad_input(path_.string(), ": has ", available, " bytes free, but room for ", count,
                     " more checkpoints of ", bytes,
                     " bytes is needed: free some space or lower checkpoint.keep");
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
  for (const auto& [name, text] : contents.published) {
    WEFT_RETURN_IF_ERROR(writer.add_text(kHfPrefix + name, text));
  }
  return writer.finish();
}

absl::Status CheckpointFolder::point_latest_to(int64_t step) const {
  const fs::path temporary = path_ / "latest.tmp";
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_directory_symlink(checkpoint_name(step), temporary, error);
  if (!error) fs::rename(temporary, path_ / kLatestLink, error);
  if (error) {
    return run_failure((path_ / kLatestLink).string(), ": cannot be replaced: ", error.message());
  }
  return sync_folder(path_);
}

void CheckpointFolder::retain(const Retention& retention, int64_t newest) const {
  int64_t kept = 0;
  for (const int64_t step : steps()) {
    const bool milestone = retention.keep_every > 0 && step % retention.keep_every == 0;
    if (kept++ < retention.keep || milestone || step == newest) continue;
    // The name goes first, so that a half deleted folder is not taken for a checkpoint.
    std::error_code error;
    fs::rename(folder(step), deleted_name(folder(step)), error);
    remove_quietly(deleted_name(folder(step)));
  }
}

absl::Status CheckpointFolder::put_in_place(const fs::path& temporary, int64_t step) const {
  std::error_code error;
  // A damaged folder of the same step may stand there after a fall-back.
  if (fs::exists(folder(step), error)) fs::rename(folder(step), deleted_name(folder(step)), error);
  fs::rename(temporary, folder(step), error);
  if (error) {
    remove_quietly(temporary);
    return run_failure(folder(step).string(), ": cannot be put in place: ", error.message());
  }
  return sync_folder(path_);
}

absl::Status CheckpointFolder::save(const CheckpointContents& contents, const Retention& retention,
                                    const std::function<void(const char*)>& at) const {
  const auto reached = [&](const char* point) {
    if (at) at(point);
  };
  WEFT_RETURN_IF_ERROR(make_folder(path_));
  for (const fs::path& entry : entries_of(path_)) {
    if (entry.extension() == ".tmp") remove_quietly(entry);
  }
  const int64_t step = contents.state.step;
  const fs::path temporary = folder(step).string() + ".tmp";
  reached("start");
  if (absl::Status written = write(temporary, contents); !written.ok()) {
    remove_quietly(temporary);
    return in_context(written, absl::StrCat("checkpoint of update ", step));
  }
  reached("written");
  WEFT_RETURN_IF_ERROR(put_in_place(temporary, step));
  reached("renamed");
  WEFT_RETURN_IF_ERROR(point_latest_to(step));
  reached("linked");
  remove_quietly(deleted_name(folder(step)));
  retain(retention, step);
  reached("retained");
  return absl::OkStatus();
}

absl::Status CheckpointFolder::set_aside_after(int64_t step) const {
  const std::vector<int64_t> all = steps();
  if (all.empty() || all.front() <= step) return absl::OkStatus();
  WEFT_RETURN_IF_ERROR(point_latest_to(step));
  for (const int64_t later : all) {
    if (later <= step) break;
    const fs::path aside = folder(later).string() + ".damaged";
    remove_quietly(aside);
    std::error_code error;
    fs::rename(folder(later), aside, error);
    if (error) return run_failure(aside.string(), ": cannot be made: ", error.message());
  }
  return sync_folder(path_);
}

absl::StatusOr<std::optional<Checkpoint>> CheckpointFolder::find_latest(Log& log) const {
  std::string damages;
  WEFT_ASSIGN_OR_RETURN(std::optional<Checkpoint> newest,
                        newest_checkpoint(path_, open_checkpoint, damages));
  if (!newest.has_value() && !damages.empty()) {
    return bad_input(path_.string(), ": no checkpoint is whole; --restart begins anew:", damages);
  }
  if (newest.has_value() && !damages.empty()) {
    log.warning("damaged checkpoints are passed over:", damages, "\n  going back to ",
                newest->store.folder().string());
  }
  return newest;
}

absl::StatusOr<Checkpoint> CheckpointFolder::open(const fs::path& path, Log& log) {
  if (is_checkpoint(path)) return open_checkpoint(path);
  const fs::path place = checkpoint_place(path);
  std::error_code error;
  if (!fs::is_directory(place, error)) return no_checkpoint(path);
  WEFT_ASSIGN_OR_RETURN(std::optional<Checkpoint> latest, CheckpointFolder(place).find_latest(log));
  if (latest.has_value()) return *std::move(latest);
  return no_checkpoint(path);
}

}  // namespace weft
