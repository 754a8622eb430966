#include <map>

#include "absl/strings/str_cat.h"

#include "data/loader.h"

namespace weft {
namespace {

// One spelling of a path: "a/./b/" is "a/b".
std::string plain_path(const std::string& path) {
  const fs::path normal = fs::path(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).string();
}

std::string key(const char* list, size_t index, const char* field) {
  return absl::StrCat(list, ".", index, ".", field);
}

}  // namespace

void validate(const DataConfig& config, Problems& problems) {
  std::map<std::string, size_t> trained;
  for (size_t i = 0; i < config.sources.size(); ++i) {
    const std::string& path = config.sources[i].path;
    const auto [first, added] = trained.emplace(plain_path(path), i);
    if (added) continue;
    problems.add(key("sources", i, "path"),
                 absl::StrCat("'", path, "' is ", key("sources", first->second, "path"),
                              " again; name it once, with the sum of the weights"));
  }
  std::map<std::string, size_t> names;
  for (size_t i = 0; i < config.validation.size(); ++i) {
    const ValidationSourceConfig& source = config.validation[i];
    const auto [first, added] = names.emplace(source.name, i);
    if (!added) {
      problems.add(key("validation", i, "name"),
                   absl::StrCat("'", source.name, "' is ", key("validation", first->second, "name"),
                                " again; names must differ"));
    }
    const auto twin = trained.find(plain_path(source.path));
    if (twin != trained.end()) {
      problems.warn(key("validation", i, "path"),
                    absl::StrCat("'", source.path, "' is trained on too: it is ",
                                 key("sources", twin->second, "path")));
    }
  }
}

}  // namespace weft
