#include "recipes/yaml_tree.h"

#include <map>
#include <sstream>

#include "absl/strings/str_cat.h"
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "base/check.h"

namespace weft {
namespace {

size_t count_nodes(const YamlNode& node) {
  size_t count = 1;
  for (const YamlNode& item : node.items) count += count_nodes(item);
  for (const YamlEntry& entry : node.entries) count += count_nodes(entry.value);
  return count;
}

// Builds the tree from yaml-cpp's events. Limits are kept while reading: the first value beyond one
// ends the parse by an exception, which parse_yaml catches.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::string name, Lines lines, Complaints& complaints)
      : name_(std::move(name)), lines_(lines), complaints_(complaints) {
    root_.place = place(YAML::Mark());
  }

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    put(make(YamlNode::Kind::kNull, mark), mark, anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(mark, "an alias stands inside the value that it repeats");
    count(mark, count_nodes(found->second));
    put(found->second, mark, YAML::NullAnchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(mark, tag);
    YamlNode node = make(YamlNode::Kind::kScalar, mark);
    node.text = value;
    node.quoted = tag == "!";
    put(std::move(node), mark, anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  // A list or map whose end has not come yet.
  struct Open {
    YamlNode node;
    YAML::Mark mark;
    YAML::anchor_t anchor;
    bool has_key = false;
    std::string key;
    Place key_place;
    std::map<std::string, Place> keys;
  };

  [[noreturn]] static void fail(const YAML::Mark& mark, const std::string& message) {
    throw YAML::ParserException(mark, message);
  }

  Place place(const YAML::Mark& mark) const {
    return lines_ == Lines::kNo ? Place{name_, 0, 0} : Place{name_, mark.line + 1, mark.column + 1};
  }

  YamlNode make(YamlNode::Kind kind, const YAML::Mark& mark) {
    count(mark, 1);
    YamlNode node;
    node.kind = kind;
    node.place = place(mark);
    return node;
  }

  void count(const YAML::Mark& mark, size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > kMaxYamlNodes) {
      fail(mark, absl::StrCat("has more than ", kMaxYamlNodes, " values, aliases counted"));
    }
  }

  static void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      fail(mark, absl::StrCat("tag ", quoted(tag), " is not allowed; tags have no meaning here"));
    }
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    check_tag(mark, tag);
    if (stack_.size() == kMaxYamlDepth) {
      fail(mark,
           absl::StrCat("has more than ", kMaxYamlDepth, " maps and lists inside each other"));
    }
    stack_.push_back({make(kind, mark), mark, anchor, false, "", {}, {}});
  }

  void close() {
    Open done = std::move(stack_.back());
    stack_.pop_back();
    put(std::move(done.node), done.mark, done.anchor);
  }

  void put(YamlNode node, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      count(mark, count_nodes(node));
      anchors_[anchor] = node;
    }
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = stack_.back();
    if (parent.node.kind == YamlNode::Kind::kList) {
      parent.node.items.push_back(std::move(node));
    } else if (parent.has_key) {
      put_value(parent, std::move(node));
    } else {
      if (node.kind != YamlNode::Kind::kScalar) fail(mark, "a key must be a word");
      parent.has_key = true;
      parent.key = node.text;
      parent.key_place = place(mark);
    }
  }

  void put_value(Open& parent, YamlNode value) {
    parent.has_key = false;
    // yaml-cpp marks an absent value at the token after it.
    if (value.kind == YamlNode::Kind::kNull) value.place = parent.key_place;
    const auto [first, is_new] = parent.keys.try_emplace(parent.key, parent.key_place);
    if (!is_new) {
      complaints_.add(
          parent.key_place, "",
          absl::StrCat("duplicate key ", quoted(parent.key), ", first at ", first->second.text()));
      return;
    }
    parent.node.entries.push_back({parent.key, parent.key_place, std::move(value)});
  }

  const std::string name_;
  const Lines lines_;
  Complaints& complaints_;
  YamlNode root_;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  size_t nodes_ = 0;
};

// The length of the UTF-8 character at `at`, 0 if it is not one (overlong forms and surrogates
// aside, which do no harm here).
size_t utf8_length(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(at);
  const size_t length = first < 0x80   ? 1
                        : first < 0xC2 ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                                       : 4;
  if (first > 0xF4) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

// What is no text: control characters and bytes that are not UTF-8; and tabs that indent, about
// which yaml-cpp says nothing helpful. Returns the complaint, or "" with `place` untouched.
std::string refuse_text(const std::string& text, Place& place) {
  int line = 1;
  size_t line_start = 0;
  bool indenting = true;
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = text[i];
    const size_t length = utf8_length(text, i);
    std::string problem;
    if (length == 0) {
      problem = absl::StrCat("byte 0x", absl::Hex(c, absl::kZeroPad2), " is not UTF-8 text");
    } else if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7F) {
      problem = absl::StrCat("control character 0x", absl::Hex(c, absl::kZeroPad2), " in a recipe");
    } else if (c == '\t' && indenting) {
      const size_t next = text.find_first_not_of(" \t\r", i);
      const bool blank = next == std::string::npos || text[next] == '\n' || text[next] == '#';
      if (!blank) problem = "a tab cannot indent YAML; use spaces";
    }
    if (!problem.empty()) {
      place.line = line;
      place.column = static_cast<int>(i - line_start) + 1;
      return problem;
    }
    indenting = c == '\n' || (indenting && (c == ' ' || c == '\t'));
    i += length;
    if (c == '\n') {
      ++line;
      line_start = i;
    }
  }
  return "";
}

}  // namespace

const YamlEntry* YamlNode::find(const std::string& key) const {
  for (const YamlEntry& entry : entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

YamlEntry* YamlNode::find(const std::string& key) {
  return const_cast<YamlEntry*>(std::as_const(*this).find(key));
}

YamlNode parse_yaml(const std::string& text, const std::string& name, Lines lines,
                    Complaints& complaints) {
  Place bad{name, 0, 0};
  const std::string refused = refuse_text(text, bad);
  if (!refused.empty()) {
    if (lines == Lines::kNo) bad = {name, 0, 0};
    complaints.add(bad, "", refused);
    return {};
  }
  std::istringstream stream(text);
  TreeBuilder builder(name, lines, complaints);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    Complaints unused;
    TreeBuilder rest(name, lines, unused);
    if (parser.HandleNextDocument(rest)) {
      complaints.add({name, 0, 0}, "", "has more than one YAML document; a recipe is one");
    }
  } catch (const YAML::Exception& error) {
    Place at{name, 0, 0};
    if (lines == Lines::kYes && !error.mark.is_null()) {
      at.line = error.mark.line + 1;
      at.column = error.mark.column + 1;
    }
    complaints.add(at, "", error.msg);
    return {};
  }
  return builder.take_root();
}

std::string escape_controls(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) {
      escaped += c;
    } else {
      absl::StrAppend(&escaped, "\\x", absl::Hex(byte, absl::kZeroPad2));
    }
  }
  return escaped;
}

std::string quoted(const std::string& text) {
  constexpr size_t kLongest = 60;
  std::string shown = escape_controls(text);
  if (shown.size() > kLongest) {
    size_t cut = kLongest;
    while (cut > 0 && (shown[cut] & 0xC0) == 0x80) --cut;  // not inside a UTF-8 character
    shown = shown.substr(0, cut) + "...";
  }
  return "'" + shown + "'";
}

}  // namespace weft
