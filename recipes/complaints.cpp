#include "recipes/complaints.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace weft {

std::string Place::text() const {
  return line == 0 ? file : absl::StrCat(file, ":", line, ":", column);
}

Place PlaceMap::find(const std::string& path) const {
  std::string at = path;
  while (true) {
    const auto found = places_.find(at);
    if (found != places_.end()) return found->second;
    if (at.empty()) return {};
    const size_t dot = at.rfind('.');
    at.resize(dot == std::string::npos ? 0 : dot);
  }
}

void Complaints::add(const Place& place, const std::string& path, const std::string& message,
                     Severity severity) {
  all_.push_back({place, path, message, severity});
}

void Complaints::add(const Problems& problems, const PlaceMap& places) {
  for (const Problems::Problem& problem : problems.all()) {
    add(places.find(problem.path), problem.path, problem.message, problem.severity);
  }
}

bool Complaints::has_errors() const {
  return std::any_of(all_.begin(), all_.end(),
                     [](const Complaint& c) { return c.severity == Severity::kError; });
}

bool Complaints::has_errors_under(const std::string& path) const {
  return std::any_of(all_.begin(), all_.end(), [&](const Complaint& c) {
    if (c.severity != Severity::kError) return false;
    return path.empty() || c.path == path || c.path.rfind(path + ".", 0) == 0;
  });
}

std::vector<std::string> Complaints::lines(Severity severity) const {
  std::vector<Complaint> sorted = all_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Complaint& a, const Complaint& b) {
    return std::tie(a.place.file, a.place.line, a.place.column) <
           std::tie(b.place.file, b.place.line, b.place.column);
  });
  std::vector<std::string> lines;
  for (const Complaint& c : sorted) {
    if (c.severity != severity) continue;
    lines.push_back(
        absl::StrCat(c.place.text(), ": ", c.path, c.path.empty() ? "" : ": ", c.message));
  }
  return lines;
}

}  // namespace weft
