#pragma once
// From Hugging Face checkpoints to weft's and back (`weft import`, `weft export`), one tensor in
// memory at a time. Import then export gives the same tensors bit for bit.
#include <optional>
#include <string>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/tensor.h"

namespace weft {

// Writes the checkpoint `out`, a new folder, from the Hugging Face folder `path`: logical tensors
// in the types that they have there, config.json and the files beside it. A checkpoint is something
// to train from, so what config.json asks of training and weft's leaves out is logged as a warning.
absl::Status import_checkpoint(const fs::path& path, const fs::path& out, Log& log);

struct ExportOptions {
  // Type of all tensors; empty: as they are stored, and for a run's checkpoint fp32, its masters'.
  std::optional<at::ScalarType> dtype;
  int64_t shard_bytes = 5'000'000'000;
};

// Writes the Hugging Face folder `out`, a new one, from any checkpoint. A run's has the end of a
// document in its tokenizer as eos_token_id, and, as each document follows one, as bos_token_id;
// where it began with published weights whose texts end with this id too, their ids are kept.
absl::Status export_checkpoint(const fs::path& path, const fs::path& out,
                               const ExportOptions& options, Log& log);

}  // namespace weft
