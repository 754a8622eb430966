#include "recipes/yaml_tree.h"

#include <map>
#include <sstream>

#include "absl/strings/str_cat.h"
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "recipes/source_text.h"

namespace weft {
namespace {

size_t count_nodes(const YamlNode& node) {
  size_t count = 1;
  for (const YamlNode& item : node.items) count += count_nodes(item);
  for (const YamlEntry& entry : node.entries) count += count_nodes(entry.value);
  return count;
}

// What yaml-cpp accepts and weft does not: thrown through its parser, caught in parse_yaml.
struct Refusal {
  YAML::Mark mark;
  std::string message;
};

// Builds the tree from yaml-cpp's events. Limits are kept while reading: the first value beyond one
// ends the parse by a Refusal.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& text, std::string name, Lines lines, Complaints& complaints)
      : text_(text), name_(std::move(name)), lines_(lines), complaints_(complaints) {
    root_.place = place(YAML::Mark());
  }

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) fail(mark, "a second YAML document starts here; a recipe is one");
  }
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
    if (node.quoted && !quote_is_closed(text_, static_cast<size_t>(mark.pos))) {
      fail(mark, "the quote that opens here is never closed");
    }
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
    throw Refusal{mark, message};
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

  const std::string& text_;
  const std::string name_;
  const Lines lines_;
  Complaints& complaints_;
  YamlNode root_;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  size_t nodes_ = 0;
  int documents_ = 0;
};

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
  constexpr char kByteOrderMark[] = "\xEF\xBB\xBF";
  if (text.rfind(kByteOrderMark, 0) == 0)
    return parse_yaml(text.substr(3), name, lines, complaints);
  const auto complain = [&](int line, int column, const std::string& message) {
    const bool has_line = lines == Lines::kYes && line > 0;
    complaints.add({name, has_line ? line : 0, has_line ? column : 0}, "", message);
    return YamlNode{};
  };
  if (const auto refused = refuse_text(text)) {
    return complain(refused->line, refused->column, refused->message);
  }
  std::istringstream stream(text);
  TreeBuilder builder(text, name, lines, complaints);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refusal& refusal) {
    return complain(refusal.mark.line + 1, refusal.mark.column + 1, refusal.message);
  } catch (const YAML::Exception& error) {
    return complain(error.mark.line + 1, error.mark.column + 1, "is not valid YAML: " + error.msg);
  }
  return builder.take_root();
}

}  // namespace weft
