#pragma once
// Where a value of a recipe was written, and the list of everything that is wrong with the recipe.
#include <map>
#include <string>
#include <vector>

#include "base/schema.h"

namespace weft {

// A place in a recipe file, or on the command line, where line is 0.
struct Place {
  std::string file;  // as the user wrote it, or "--set a.b=1"
  int line = 0;      // 1-based
  int column = 0;    // 1-based, in bytes

  // "file:line:column", or the file alone where there is no line.
  std::string text() const;
};

// Where each key of a recipe was written: "stages.0.steps" -> the place of its value.
class PlaceMap {
 public:
  void set(const std::string& path, const Place& place) { places_[path] = place; }
  // The place of `path`, or of the nearest map around it that was written.
  Place find(const std::string& path) const;

 private:
  std::map<std::string, Place> places_;
};

// Everything found, in any order; printed in the order of the files' lines.
class Complaints {
 public:
  using Severity = Problems::Severity;

  void add(const Place& place, const std::string& path, const std::string& message,
           Severity severity = Severity::kError);
  // Adds each problem at the place where its key was written.
  void add(const Problems& problems, const PlaceMap& places);

  bool has_errors() const;
  // One "file:line:column: key.path: message" for each complaint of that severity.
  std::vector<std::string> lines(Severity severity) const;
  // Whether an error lies at `path` or beneath it.
  bool has_errors_under(const std::string& path) const;

 private:
  struct Complaint {
    Place place;
    std::string path;
    std::string message;
    Severity severity;
  };
  std::vector<Complaint> all_;
};

}  // namespace weft
