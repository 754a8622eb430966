#pragma once
// What a checkpoint, a run or a recipe's model is, as text for people (`weft info`).
#include <string>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"

namespace weft {

// `path`: a checkpoint's folder, a folder of checkpoints, or a run directory, which may have none
// yet; a Hugging Face folder or a checkpoint imported from one, of which the text has the model; or
// a recipe (.yaml), of which it has the plan. Of a run the text has the state of the newest whole
// checkpoint with its files (every checksum is compared), the model as `weft validate` prints it,
// and the last figures of metrics.jsonl. What is neither, or is damaged, is an error that names the
// file.
absl::StatusOr<std::string> describe_run(const fs::path& path, Log& log);

// What decoding keeps of a sequence of `context` tokens (recipes/plan.h), for any such path.
absl::StatusOr<std::string> describe_state(const fs::path& path, int64_t context, Log& log);

// The last figures in the lines of a metrics.jsonl: a record of training, then each source of
// validation. Lines that are no JSON object (the last one may be cut off) are passed over.
std::string describe_metrics(const std::string& lines);

}  // namespace weft
