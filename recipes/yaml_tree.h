#pragma once
// YAML text as a tree in which every key and value knows where it was written. The only user of
// yaml-cpp. Stricter than YAML: one document, no duplicate keys, no tags, limited size.
#include <string>
#include <vector>

#include "recipes/complaints.h"

namespace weft {

inline constexpr int kMaxYamlNodes = 10'000;  // values, those that aliases repeat included
inline constexpr int kMaxYamlDepth = 64;      // maps and lists inside each other

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  Place place;
  std::string text;                // of a scalar
  bool quoted = false;             // a scalar in quotes or a block: text, never a number or a word
  std::vector<YamlNode> items;     // of a list
  std::vector<YamlEntry> entries;  // of a map, in the order written

  const YamlEntry* find(const std::string& key) const;  // null if absent
  YamlEntry* find(const std::string& key);
};

struct YamlEntry {
  std::string key;
  Place place;  // of the key
  YamlNode value;
};

// Reads `text`; `name` is the file of its places. A --set value has `lines` kNo: its places are
// `name` alone. Text that does not parse leaves one complaint and a null node.
enum class Lines { kNo, kYes };
YamlNode parse_yaml(const std::string& text, const std::string& name, Lines lines,
                    Complaints& complaints);

}  // namespace weft
