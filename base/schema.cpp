#include "base/schema.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace weft {
namespace {

std::string number_text(double value) { return absl::StrFormat("%.10g", value); }

// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> before, row(b.size() + 1), next(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    next[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = row[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before = std::exchange(row, next);
  }
  return row[b.size()];
}

}  // namespace

std::string Check::words() const {
  if (not_empty) return "not empty";
  const bool has_low = std::isfinite(low);
  const bool has_high = std::isfinite(high);
  if (has_low && has_high) {
    return absl::StrCat(low_open ? "above " : "from ", number_text(low),
                        high_open ? " to below " : " to ", number_text(high));
  }
  if (has_low) return absl::StrCat(low_open ? "above " : "at least ", number_text(low));
  if (has_high) return absl::StrCat(high_open ? "below " : "at most ", number_text(high));
  return "";
}

std::string Check::refuse(double value) const {
  const bool ok = std::isfinite(value) && (low_open ? value > low : value >= low) &&
                  (high_open ? value < high : value <= high);
  if (ok) return "";
  const std::string allowed = words();
  return absl::StrCat("is ", number_text(value), ", must be ",
                      allowed.empty() ? std::string("finite") : allowed);
}

std::string Check::refuse(const std::string& value) const {
  return not_empty && value.empty() ? "must not be empty" : "";
}

std::string Check::refuse_size(size_t list_size) const {
  return not_empty && list_size == 0 ? "must have at least one entry" : "";
}

Problems::Scope Problems::enter(std::string_view key) {
  const size_t size = prefix_.size();
  prefix_.append(key).append(".");
  return Scope(*this, size);
}

Problems::Scope Problems::enter(std::string_view key, size_t index) {
  const size_t size = prefix_.size();
  prefix_.append(key).append(".").append(std::to_string(index)).append(".");
  return Scope(*this, size);
}

void Problems::put(std::string_view key, std::string message, Severity severity) {
  std::string path = prefix_ + std::string(key);
  if (!path.empty() && path.back() == '.') path.pop_back();
  all_.push_back({std::move(path), std::move(message), severity});
}

bool Problems::has_errors() const {
  return std::any_of(all_.begin(), all_.end(),
                     [](const Problem& p) { return p.severity == Severity::kError; });
}

std::string Problems::text() const {
  std::string text;
  for (const Problem& problem : all_) {
    if (!text.empty()) text += '\n';
    text += problem.path.empty() ? problem.message : problem.path + ": " + problem.message;
  }
  return text;
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  int best_distance = std::max<int>(1, static_cast<int>(word.size()) / 3) + 1;
  for (const std::string& candidate : known) {
    const int distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace weft
