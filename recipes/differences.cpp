// What changed between two recipes (load.h): differences.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "recipes/load.h"
#include "recipes/scalar.h"

namespace weft {
namespace {

struct Leaf {
  std::string path;
  std::string text;
};

// Every single value with its path, in the order of the descriptions.
class Flattener {
 public:
  Flattener(std::string prefix, std::vector<Leaf>& leaves)
      : prefix_(std::move(prefix)), leaves_(leaves) {}

  template <class T>
  void field(const char* name, const T& value, const Check&, const char*) {
    const std::string path = prefix_ + name;
    if constexpr (Described<T>) {
      flatten(value, path);
    } else if constexpr (IsMapList<T>::value) {
      for (size_t i = 0; i < value.size(); ++i) flatten(value[i], absl::StrCat(path, ".", i));
    } else if constexpr (IsList<T>::value) {
      std::vector<std::string> texts;
      for (const auto& item : value) texts.push_back(write_scalar(item));
      leaves_.push_back({path, absl::StrCat("[", absl::StrJoin(texts, ", "), "]")});
    } else if constexpr (IsWordOrMap<T>::value) {
      if (value.map.has_value()) {
        flatten(*value.map, path);
      } else {
        leaves_.push_back({path, write_scalar(value.word)});
      }
    } else {
      leaves_.push_back({path, write_scalar(value)});
    }
  }

  template <class F>
  void when(bool applies, const char*, F&& fields) {
    if (applies) fields();
  }

 private:
  template <class T>
  void flatten(const T& value, const std::string& path) {
    Flattener inner(path + ".", leaves_);
    T::describe(value, inner);
  }

  const std::string prefix_;
  std::vector<Leaf>& leaves_;
};

template <Described T>
std::vector<Leaf> leaves_of(const T& value, const std::string& prefix) {
  std::vector<Leaf> leaves;
  Flattener flattener(prefix, leaves);
  T::describe(value, flattener);
  return leaves;
}

// Leaves that differ or that one side lacks, as "path: text<before> text<after>".
std::vector<std::string> compare(const std::vector<Leaf>& before, const std::vector<Leaf>& after,
                                 const std::string& in_before, const std::string& in_after) {
  std::map<std::string, std::string> old_texts, new_texts;
  for (const Leaf& leaf : before) old_texts[leaf.path] = leaf.text;
  for (const Leaf& leaf : after) new_texts[leaf.path] = leaf.text;
  std::vector<std::string> found;
  for (const Leaf& leaf : before) {
    const auto other = new_texts.find(leaf.path);
    if (other != new_texts.end() && other->second == leaf.text) continue;
    found.push_back(absl::StrCat(leaf.path, ": ", leaf.text, in_before, ", ",
                                 other == new_texts.end() ? std::string("absent") : other->second,
                                 in_after));
  }
  for (const Leaf& leaf : after) {
    if (old_texts.contains(leaf.path)) continue;
    found.push_back(absl::StrCat(leaf.path, ": absent", in_before, ", ", leaf.text, in_after));
  }
  return found;
}

// Whether a resumed run may change `path`: a prefix of it, with N for list indices, is in the list.
bool may_change(const std::string& path) {
  static constexpr const char* kFree[] = {
      "device",
      "threads",
      "precision.compute",
      "stages.N.steps",
      "stages.N.micro_batch_tokens",
      "logging",
      "checkpoint",
      "memory",
  };
  std::vector<std::string> keys = absl::StrSplit(path, '.');
  for (std::string& key : keys) {
    if (!key.empty() &&
        std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      key = "N";
    }
  }
  const std::string general = absl::StrJoin(keys, ".");
  return std::any_of(std::begin(kFree), std::end(kFree), [&](const std::string& free) {
    return general == free || general.rfind(free + ".", 0) == 0;
  });
}

}  // namespace

std::vector<std::string> differences(const Recipe& stored, const Recipe& now) {
  std::vector<Leaf> before = leaves_of(stored, ""), after = leaves_of(now, "");
  const auto is_free = [](const Leaf& leaf) { return may_change(leaf.path); };
  std::erase_if(before, is_free);
  std::erase_if(after, is_free);
  return compare(before, after, " in the run", " now");
}

std::vector<std::string> differences(const ModelRecipe& source, const ModelRecipe& model) {
  ModelRecipe before = explicit_recipe(source);
  const ModelRecipe after = explicit_recipe(model);
  before.init = after.init;
  if (build_config(before) == build_config(after)) return {};
  return compare(leaves_of(before, "model."), leaves_of(after, "model."), " there", " here");
}

}  // namespace weft
