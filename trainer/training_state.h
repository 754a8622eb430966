#pragma once
// What a run carries from step to step beside parameters and moments: the state file of a
// checkpoint.
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace weft {

struct TrainingState {
  int64_t step = 0;           // updates done
  int64_t tokens = 0;         // tokens of these updates
  int threads = 0;            // CPU threads; another number may change last bits
  double grad_norm_mean = 0;  // of the guard
  int64_t guard_updates = 0;  // accepted updates that the mean has seen
  int64_t skipped = 0;        // updates skipped in all
  int64_t skipped_in_a_row = 0;
  std::string compute = "fp32";        // what precision.compute came to: bf16, fp32 or fp64
  std::vector<std::string> data = {};  // fingerprints of the sources trained on, stage after stage

  bool operator==(const TrainingState&) const = default;
};

// JSON, floats in the shortest form that reads back to the same bits. REQUIRES: finite numbers.
std::string to_json(const TrainingState& state);
// Bad input (no file name in it): another version, which is unreadable input, or a value that is
// missing or impossible.
absl::StatusOr<TrainingState> state_from_json(const std::string& text);

}  // namespace weft
