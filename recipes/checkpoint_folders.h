#pragma once
// Where the checkpoints of a run stand, and which of them is the newest that can be used: the rule
// for whoever reads only what the newest says (stored_model.h) and for whoever loads it
// (trainer/checkpoint.h).
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace weft {

// The name of a run's checkpoint, step-<8 digits>, and the number in such a name, else -1.
std::string checkpoint_name(int64_t step);
int64_t checkpoint_step(const std::string& name);
// The symbolic link to the newest one.
inline constexpr char kLatestLink[] = "latest";
// Updates of the finished checkpoints in a folder, falling; none where it cannot be listed.
std::vector<int64_t> checkpoint_steps(const fs::path& folder);

// Whether `path` names one checkpoint by its own folder, there or not.
bool is_checkpoint(const fs::path& path);
// The folder of checkpoints of a run directory; any other path is taken for such a folder itself.
fs::path checkpoint_place(const fs::path& path);
// Says of a path without checkpoints what it is instead.
absl::Status no_checkpoint(const fs::path& path);

// The folders of the checkpoints in `place`, the newest first; one that the link `latest` names
// and that is gone is added to `damages`. Unreadable input if `place` is there and cannot be
// listed.
//
// The number decides and not `latest`: while a checkpoint is put in place there is a moment when
// the newest one is whole already and `latest` still names the one before it.
absl::StatusOr<std::vector<fs::path>> checkpoint_folders(const fs::path& place,
                                                         std::string& damages);

// What `open` makes of the newest checkpoint in `place` that it does not refuse; empty if there is
// none. What was passed over is added to `damages`, a line each that begins with a line feed.
// Unreadable input ends the search: what cannot be read now may be whole.
template <class Open>
auto newest_checkpoint(const fs::path& place, const Open& open, std::string& damages)
    -> absl::StatusOr<
        std::optional<typename std::invoke_result_t<const Open&, const fs::path&>::value_type>> {
  using Found = typename std::invoke_result_t<const Open&, const fs::path&>::value_type;
  WEFT_ASSIGN_OR_RETURN(const std::vector<fs::path> folders, checkpoint_folders(place, damages));
  for (const fs::path& folder : folders) {
    absl::StatusOr<Found> opened = open(folder);
    if (opened.ok()) return std::optional<Found>(*std::move(opened));
    if (absl::IsFailedPrecondition(opened.status())) return opened.status();
    damages += "\n  " + std::string(opened.status().message());
  }
  return std::optional<Found>();
}

}  // namespace weft
