#pragma once
// The metrics of a run as lines of JSON: one flat object a line, in the order of writing. Every row
// has `step` (updates done). What rows are written, and when, is run_metrics.h's.
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "trainer/append_file.h"

namespace weft {

struct MetricsRow {
  std::vector<std::pair<std::string, std::variant<int64_t, double>>> values;

  void add(std::string name, int64_t value) { values.emplace_back(std::move(name), value); }
  void add(std::string name, double value) { values.emplace_back(std::move(name), value); }
};

// {"step":120,"loss":1.25}: the shortest digits that read back as the same double, always with a
// point or an exponent; null for what is not finite, which JSON cannot say.
std::string to_json(const MetricsRow& row);

class MetricsWriter final {
 public:
  // Appends to `path`.
  static absl::StatusOr<MetricsWriter> open(const fs::path& path);

  // The row is in the file, line end included, when this returns.
  absl::Status write(const MetricsRow& row);
  // The rows survive a power cut once this returns.
  absl::Status sync() { return file_.sync(); }

 private:
  explicit MetricsWriter(AppendFile file) : file_(std::move(file)) {}
  AppendFile file_;
};

}  // namespace weft
