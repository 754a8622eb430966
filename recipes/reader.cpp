#include "recipes/reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "recipes/source_text.h"

namespace weft {

void MapReader::finish() {
  for (const YamlEntry& entry : map_.entries) {
    const std::string& key = entry.key;
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const auto condition = std::find_if(inapplicable_.begin(), inapplicable_.end(),
                                        [&](const auto& pair) { return pair.first == key; });
    if (condition != inapplicable_.end()) {
      if (doubtful_) continue;
      log_.complaints.add(entry.place, path_ + key,
                          absl::StrCat("has no meaning here; it goes with ", condition->second));
      continue;
    }
    std::vector<std::string> candidates = known_;
    for (const auto& [name, unmet] : inapplicable_) candidates.push_back(name);
    const std::string near = nearest_word(key, candidates);
    log_.complaints.add(
        entry.place, path_.empty() ? "" : path_.substr(0, path_.size() - 1),
        absl::StrCat("unknown key ", quoted(key), "; ",
                     near.empty() ? absl::StrCat("known: ", absl::StrJoin(known_, ", "))
                                  : absl::StrCat("did you mean '", near, "'?")));
  }
}

}  // namespace weft
