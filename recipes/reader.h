#pragma once
// The visitor that fills config structs from a YAML tree. It finds every problem of a single value:
// an unknown or missing key, a wrong type, a value out of range.
#include <string>
#include <utility>
#include <vector>

#include "recipes/complaints.h"
#include "recipes/scalar.h"
#include "recipes/yaml_tree.h"

namespace weft {

// What reading a whole recipe leaves behind.
struct ReadLog {
  Complaints complaints;
  PlaceMap places;
};

// A required key that is not written: a complaint, or what the struct holds before it is read is as
// good as written. Items of lists are always read anew.
enum class Absent { kRefused, kKept };

// Reads `node` into `value`, a described struct; `path` is "" for the recipe itself, else ends in
// ".". What is not written stays as it is.
template <Described T>
void read_map(const YamlNode& node, const std::string& path, T& value, ReadLog& log,
              Absent absent = Absent::kRefused);

// One map of the recipe while its struct is described.
class MapReader {
 public:
  MapReader(const YamlNode& map, std::string path, ReadLog& log, Absent absent)
      : map_(map), path_(std::move(path)), log_(log), absent_(absent) {}

  template <class T>
  void field(const char* name, T& value, const Check& check, const char*) {
    if (!unmet_.empty()) {
      inapplicable_.emplace_back(name, unmet_);
      return;
    }
    known_.emplace_back(name);
    const YamlEntry* entry = map_.find(name);
    const std::string path = path_ + name;
    if (entry == nullptr) {
      if (check.required && absent_ == Absent::kRefused)
        log_.complaints.add(map_.place, path, "is missing, needs " + allowed_words<T>(check));
      return;
    }
    log_.places.set(path, entry->value.place);
    read_value(entry->value, path, check, value);
  }

  template <class F>
  void when(bool applies, const char* condition, F&& fields) {
    const std::string outer = unmet_;
    if ((!applies || doubtful_) && unmet_.empty()) unmet_ = condition;
    fields();
    unmet_ = outer;
  }

  // Complains of the keys that no field asked for.
  void finish();

 private:
  template <class T>
  void read_value(const YamlNode& node, const std::string& path, const Check& check, T& value) {
    if constexpr (Described<T>) {
      read_map(node, path + ".", value, log_, absent_);
    } else if constexpr (IsList<T>::value) {
      read_list(node, path, check, value);
    } else if constexpr (IsWordOrMap<T>::value) {
      read_word_or_map(node, path, check, value);
    } else {
      const std::string problem = read_scalar(node, check, value);
      if (NamedEnum<T> && !problem.empty()) doubtful_ = true;
      complain(node, path, problem);
    }
  }

  template <class T>
  void read_list(const YamlNode& node, const std::string& path, const Check& check,
                 std::vector<T>& value) {
    if (node.kind != YamlNode::Kind::kList) {
      complain(node, path, found_words(node) + ", must be " + type_words<std::vector<T>>());
      return;
    }
    complain(node, path, check.refuse_size(node.items.size()));
    value.assign(node.items.size(), T{});
    for (size_t i = 0; i < node.items.size(); ++i) {
      const std::string item = path + "." + std::to_string(i);
      log_.places.set(item, node.items[i].place);
      if constexpr (Described<T>) {
        read_map(node.items[i], item + ".", value[i], log_);
      } else {
        read_value(node.items[i], item, check, value[i]);
      }
    }
  }

  // Recipes are merged before they are read: the map is whole.
  template <class T>
  void read_word_or_map(const YamlNode& node, const std::string& path, const Check& check,
                        T& value) {
    if (node.kind == YamlNode::Kind::kMap) {
      read_map(node, path + ".", value.map.emplace(), log_);
      return;
    }
    if (read_scalar(node, check, value.word).empty()) {
      value.map.reset();
    } else {
      complain(node, path,
               found_words(node) + ", must be " + type_words<T>() +
                   suggestion<decltype(value.word)>(node));
    }
  }

  void complain(const YamlNode& node, const std::string& path, const std::string& problem) {
    if (!problem.empty()) log_.complaints.add(node.place, path, problem);
  }

  const YamlNode& map_;
  const std::string path_;
  ReadLog& log_;
  const Absent absent_;
  std::vector<std::string> known_;
  std::vector<std::pair<std::string, std::string>> inapplicable_;  // key, condition that it needs
  bool doubtful_ = false;  // a word that conditions depend on could not be read
  std::string unmet_;      // the condition that does not hold where we are, or ""
};

template <Described T>
void read_map(const YamlNode& node, const std::string& path, T& value, ReadLog& log,
              Absent absent) {
  if (node.kind != YamlNode::Kind::kMap) {
    const std::string name = path.empty() ? "" : path.substr(0, path.size() - 1);
    log.complaints.add(node.place, name, found_words(node) + ", must be a map");
    return;
  }
  MapReader reader(node, path, log, absent);
  T::describe(value, reader);
  reader.finish();
}

}  // namespace weft
