#include "recipes/layering.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "recipes/source_text.h"

namespace weft {
namespace {

// One file of the chain, as it was written and as the file system knows it.
struct Link {
  std::string written;
  fs::path canonical;
};

void remove_key(YamlNode& map, const std::string& key) {
  std::erase_if(map.entries, [&](const YamlEntry& entry) { return entry.key == key; });
}

void merge_entry(YamlNode& base, YamlEntry over);

void merge(YamlNode& base, YamlNode over) {
  if (base.kind != YamlNode::Kind::kMap || over.kind != YamlNode::Kind::kMap) {
    base = std::move(over);
    return;
  }
  base.place = over.place;
  for (YamlEntry& entry : over.entries) merge_entry(base, std::move(entry));
}

void merge_entry(YamlNode& base, YamlEntry over) {
  YamlEntry* under = base.find(over.key);
  if (under == nullptr) {
    base.entries.push_back(std::move(over));
  } else if (over.value.kind == YamlNode::Kind::kNull) {
    remove_key(base, over.key);
  } else {
    under->place = over.place;
    merge(under->value, std::move(over.value));
  }
}

// Reads one file into `node`; false if there is nothing to go on with.
bool read_one(const fs::path& path, const Place& asked_at, const std::string& asked_path,
              YamlNode& node, Complaints& complaints) {
  const absl::StatusOr<std::string> text = read_file(path, kMaxRecipeBytes);
  if (!text.ok()) {
    std::string why(text.status().message());
    // Where the place is the file itself, its name stands in front already.
    const std::string prefix = asked_at.text() + ": ";
    if (why.rfind(prefix, 0) == 0) why = why.substr(prefix.size());
    complaints.add(asked_at, asked_path, why);
    return false;
  }
  node = parse_yaml(*text, path.string(), Lines::kYes, complaints);
  return node.kind == YamlNode::Kind::kMap;
}

// Whether the file at `next` may be read after those of `chain`; complains at `place` if not.
bool may_extend(const Link& next, const std::vector<Link>& chain, const Place& place,
                Complaints& complaints) {
  const auto seen = std::find_if(chain.begin(), chain.end(), [&](const Link& link) {
    return link.canonical == next.canonical;
  });
  if (seen != chain.end()) {
    std::string names;
    for (auto link = seen; link != chain.end(); ++link)
      absl::StrAppend(&names, link->written, " -> ");
    complaints.add(place, "extends", absl::StrCat("is a cycle: ", names, next.written));
    return false;
  }
  if (chain.size() == kMaxExtends) {
    complaints.add(place, "extends",
                   absl::StrCat("is a chain of more than ", kMaxExtends, " files"));
    return false;
  }
  return true;
}

fs::path known_path(const fs::path& path) {
  std::error_code error;
  const fs::path known = fs::weakly_canonical(path, error);
  return error ? path : known;
}

// `node` is the content of the last file of `chain`; what it extends is put beneath it.
void extend(YamlNode& node, std::vector<Link>& chain, Complaints& complaints) {
  const YamlEntry* entry = node.find("extends");
  if (entry == nullptr) return;
  const YamlNode value = entry->value;
  remove_key(node, "extends");
  if (value.kind != YamlNode::Kind::kScalar || value.text.empty() ||
      value.text.find('\0') != std::string::npos) {
    complaints.add(value.place, "extends", "must be the path of one recipe");
    return;
  }
  const fs::path path =
      (fs::path(chain.back().written).parent_path() / value.text).lexically_normal();
  const Link next{path.string(), known_path(path)};
  if (!may_extend(next, chain, value.place, complaints)) return;
  YamlNode base;
  if (!read_one(path, value.place, "extends", base, complaints)) {
    if (!complaints.has_errors()) {
      complaints.add(value.place, "extends", absl::StrCat(quoted(next.written), " has no keys"));
    }
    return;
  }
  chain.push_back(next);
  extend(base, chain, complaints);
  merge(base, std::move(node));
  node = std::move(base);
}

bool parse_index(const std::string& text, size_t& index) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, index);
  return error == std::errc() && stop == end;
}

// The tree's node under `key` of `node`, made if it is not there; null with a complaint if it
// cannot be.
YamlNode* step_into(YamlNode& node, const std::string& key, const std::string& so_far,
                    const Place& place, Complaints& complaints) {
  if (node.kind == YamlNode::Kind::kList) {
    size_t index = 0;
    const bool is_index = parse_index(key, index);
    if (is_index && index < node.items.size()) return &node.items[index];
    const size_t size = node.items.size();
    complaints.add(place, so_far,
                   absl::StrCat("is a list of ", size, size == 1 ? " entry; " : " entries; ",
                                quoted(key), " is no index into it",
                                size == 0 ? "" : absl::StrCat(" (0 to ", size - 1, ")")));
    return nullptr;
  }
  if (node.kind != YamlNode::Kind::kMap) {
    node = YamlNode{};
    node.kind = YamlNode::Kind::kMap;
    node.place = place;
  }
  if (node.find(key) == nullptr) node.entries.push_back({key, place, YamlNode{}});
  return &node.find(key)->value;
}

}  // namespace

YamlNode read_layers(const fs::path& path, Complaints& complaints) {
  YamlNode root;
  if (!read_one(path, {path.string(), 0, 0}, "", root, complaints)) {
    if (!complaints.has_errors()) {
      const bool empty = root.kind == YamlNode::Kind::kNull;
      complaints.add({path.string(), 1, 1}, "",
                     empty ? std::string("is empty") : "must be a map of keys");
    }
    return root;
  }
  std::vector<Link> chain{{path.string(), known_path(path)}};
  extend(root, chain, complaints);
  return root;
}

void apply_set(const std::string& set, YamlNode& root, Complaints& complaints) {
  const Place place{"--set " + escape_controls(set), 0, 0};
  const size_t equals = set.find('=');
  const std::string path = set.substr(0, equals);
  const std::vector<std::string> keys = absl::StrSplit(path, '.');
  if (equals == std::string::npos || std::find(keys.begin(), keys.end(), "") != keys.end()) {
    complaints.add(place, "", "must look like stages.0.steps=50");
    return;
  }
  YamlNode value = parse_yaml(set.substr(equals + 1), place.file, Lines::kNo, complaints);
  YamlNode* node = &root;
  std::string so_far;
  for (size_t i = 0; i + 1 < keys.size(); ++i) {
    node = step_into(*node, keys[i], so_far, place, complaints);
    if (node == nullptr) return;
    absl::StrAppend(&so_far, so_far.empty() ? "" : ".", keys[i]);
  }
  if (node->kind == YamlNode::Kind::kMap) {
    merge_entry(*node, {keys.back(), place, std::move(value)});
    return;
  }
  YamlNode* last = step_into(*node, keys.back(), so_far, place, complaints);
  if (last != nullptr) merge(*last, std::move(value));
}

}  // namespace weft
