#include "parallel/parameter_table.h"

#include <cmath>

#include "base/check.h"

namespace weft {

int64_t ParameterSpec::numel() const {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

void ParameterTable::add(ParameterSpec spec) {
  const bool inserted = by_name_.emplace(spec.name, rows_.size()).second;
  WEFT_CHECK(inserted, "parameter '", spec.name, "' is declared twice");
  rows_.push_back(std::move(spec));
}

const ParameterSpec* ParameterTable::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &rows_[found->second];
}

int64_t ParameterTable::numel() const {
  int64_t n = 0;
  for (const ParameterSpec& row : rows_) n += row.numel();
  return n;
}

int64_t ParameterTable::active_numel() const {
  int64_t n = 0;
  for (const ParameterSpec& row : rows_) {
    n += std::llround(static_cast<double>(row.numel()) * row.active_share);
  }
  return n;
}

}  // namespace weft
