#pragma once
// TensorBoard event files (spec/formats.md 6): scalars and text, in the protocol's own bytes,
// without a protobuf library.
//
//   WEFT_ASSIGN_OR_RETURN(EventWriter events, EventWriter::open(run_dir / "tensorboard",
//   state.step)); WEFT_RETURN_IF_ERROR(events.write_scalars(state.step, {{"train/loss", 2.5}}));
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/append_file.h"

namespace weft {

using Scalars = std::vector<std::pair<std::string, double>>;  // tag, value (kept as fp32)

class EventWriter final {
 public:
  // A new file in `folder`, which is made if it is not there. `step`: updates done. A session start
  // at the step after it tells readers to drop what earlier files have from there on.
  static absl::StatusOr<EventWriter> open(const fs::path& folder, int64_t step);

  // One event with all values, in the file when this returns. Each tag's steps must rise.
  absl::Status write_scalars(int64_t step, const Scalars& values);
  // `text` (Markdown) under the viewer's tab for text.
  absl::Status write_text(int64_t step, const std::string& tag, const std::string& text);

  const fs::path& path() const { return file_.path(); }

 private:
  explicit EventWriter(AppendFile file) : file_(std::move(file)) {}
  AppendFile file_;
};

// The serialized messages, and the record around one. `wall_time`: seconds since 1970.
namespace tensorboard {

uint32_t crc32c(std::string_view bytes);
uint32_t masked_crc32c(std::string_view bytes);
std::string record(std::string_view event);
std::string version_event(double wall_time);
std::string session_start_event(double wall_time, int64_t step);
std::string scalar_event(double wall_time, int64_t step, const Scalars& values);
std::string text_event(double wall_time, int64_t step, const std::string& tag,
                       const std::string& text);

}  // namespace tensorboard
}  // namespace weft
