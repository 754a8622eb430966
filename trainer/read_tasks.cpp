#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/json.h"
#include "base/utf8.h"
#include "trainer/tasks.h"

namespace weft {
namespace {

constexpr size_t kShownProblems = 10;
// Of a line: four choices of four million tokens. Members that are not read may be nested, too.
constexpr JsonLimits kLimits = {.depth = 32, .values = size_t{1} << 24};

// What is wrong with a file: the first problems, and how many there are.
class Complaints final {
 public:
  explicit Complaints(const fs::path& path) : path_(path.string()) {}

  void enter(int64_t line) { where_ = absl::StrCat(path_, ":", line, ": "); }
  void add(const std::string& message) {
    if (++count_ <= kShownProblems) shown_.push_back(where_ + message);
  }
  void add(const std::string& member, const std::string& message) {
    add(absl::StrCat(member, ": ", message));
  }

  size_t count() const { return count_; }
  absl::Status status() const {
    if (count_ == 0) return absl::OkStatus();
    const size_t more = count_ - shown_.size();
    const std::string rest =
        more > 0 ? absl::StrCat("\nand ", more, " more problem", more == 1 ? "" : "s") : "";
    return bad_input(absl::StrJoin(shown_, "\n"), rest);
  }

 private:
  std::string path_, where_;
  size_t count_ = 0;
  std::vector<std::string> shown_;
};

// A value for a message: numbers as they are, the others by what they are.
std::string shown(const Json& json) {
  if (json.is_object()) return "an object";
  if (json.is_array()) return "a list";
  if (json.is_string()) return "a text";
  return json.dump();
}

// One line of a file. An item is whole if reading it gave no complaint.
class ItemReader final {
 public:
  ItemReader(const absl::StatusOr<Tokenizer>& tokenizer, int64_t vocab_size,
             const ChoiceOptions& options, Complaints& complaints)
      : tokenizer_(tokenizer),
        vocab_size_(vocab_size),
        options_(options),
        complaints_(complaints) {}

  ChoiceItem read(const Json& json) {
    json_ = &json;
    item_ = {};
    if (has("context_ids") || has("choices_ids")) {
      read_ids();
      read_answer("choices_ids");
    } else {
      read_text();
      read_answer("choices");
    }
    return std::move(item_);
  }

 private:
  bool has(const char* name) const { return json_->contains(name); }

  // "is missing" or "is 3", and what it must be.
  void refuse(const std::string& name, const std::string& allowed) {
    const auto member = json_->find(name);
    const std::string found =
        member == json_->end() ? "is missing" : absl::StrCat("is ", shown(*member));
    complaints_.add(name, absl::StrCat(found, ", must be ", allowed));
  }

  void read_text() {
    if (!tokenizer_.ok()) {
      complaints_.add("context",
                      absl::StrCat(tokenizer_.status().message(), ": context_ids and choices_ids"));
      return;
    }
    if (const std::string* context = find_string(*json_, "context")) {
      item_.context = encode("context", *context);
      check_context("context");
    } else {
      refuse("context", "a text");
    }
    const std::vector<std::string> texts = read_choices();
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string name = absl::StrCat("choices.", i);
      item_.choices.push_back(encode(name, " " + texts[i]));
      check_length(name, item_.choices.back());
    }
  }

  void read_ids() {
    if (has("context")) {
      complaints_.add("context", "stands beside token ids; an item has all text or all ids");
    }
    if (const Json* context = find_array(*json_, "context_ids")) {
      item_.context = ids_of("context_ids", *context);
      check_context("context_ids");
    } else {
      refuse("context_ids", "a list of token ids");
    }
    const Json* choices = find_array(*json_, "choices_ids");
    if (choices == nullptr || choices->size() < 2) {
      refuse_choices("choices_ids", "lists of token ids");
      return;
    }
    for (size_t i = 0; i < choices->size(); ++i) {
      const std::string name = absl::StrCat("choices_ids.", i);
      const Json& ids = (*choices)[i];
      if (!ids.is_array()) {
        complaints_.add(name, absl::StrCat("is ", shown(ids), ", must be a list of token ids"));
        continue;
      }
      if (ids.empty()) complaints_.add(name, "is empty, must have a token");
      item_.choices.push_back(ids_of(name, ids));
      check_length(name, item_.choices.back());
    }
    if (!has("choices")) return;
    const std::vector<std::string> texts = read_choices();
    if (!texts.empty() && texts.size() != choices->size()) {
      complaints_.add("choices", absl::StrCat("has ", texts.size(), " texts, must have ",
                                              choices->size(), " as choices_ids has"));
    }
  }

  void refuse_choices(const std::string& name, const std::string& kind) {
    const Json* list = find_array(*json_, name);
    if (list == nullptr) {
      refuse(name, absl::StrCat("a list of at least 2 ", kind));
    } else {
      complaints_.add(name, absl::StrCat("has ", list->size(), ", must have at least 2 ", kind));
    }
  }

  // The texts of `choices` and their lengths.
  std::vector<std::string> read_choices() {
    const Json* choices = find_array(*json_, "choices");
    if (choices == nullptr || choices->size() < 2) {
      refuse_choices("choices", "texts");
      return {};
    }
    std::vector<std::string> texts;
    for (size_t i = 0; i < choices->size(); ++i) {
      const Json& choice = (*choices)[i];
      const std::string name = absl::StrCat("choices.", i);
      if (!choice.is_string()) {
        complaints_.add(name, absl::StrCat("is ", shown(choice), ", must be a text"));
      }
      texts.push_back(choice.is_string() ? choice.get<std::string>() : "");
      if (choice.is_string() && texts.back().empty()) {
        complaints_.add(name, "is empty, must have a character");
      }
      item_.characters.push_back(count_code_points(texts.back()));
      item_.bytes.push_back(static_cast<int64_t>(texts.back().size()));
    }
    return texts;
  }

  void read_answer(const char* choices_name) {
    const Json* choices = find_array(*json_, choices_name);
    const bool known = choices != nullptr && choices->size() >= 2;
    const auto answer = json_->find("answer");
    const std::optional<int64_t> index = answer == json_->end() ? std::nullopt : as_count(*answer);
    if (index && (!known || *index < static_cast<int64_t>(choices->size()))) {
      item_.answer = *index;
    } else if (known) {
      refuse("answer", absl::StrCat("from 0 to ", choices->size() - 1, ", a choice's index"));
    } else {
      refuse("answer", "a choice's index");
    }
  }

  std::vector<int64_t> encode(const std::string& name, const std::string& text) {
    const std::vector<int32_t> ids = tokenizer_->encode(text);
    const auto beyond =
        std::find_if(ids.begin(), ids.end(), [&](int32_t id) { return id >= vocab_size_; });
    if (beyond != ids.end()) {
      complaints_.add(name, absl::StrCat("has token id ", *beyond, ", must be ", allowed_ids()));
    }
    return {ids.begin(), ids.end()};
  }

  // Complains about the first that is no id of the vocabulary.
  std::vector<int64_t> ids_of(const std::string& name, const Json& list) {
    std::vector<int64_t> ids;
    ids.reserve(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      const std::optional<int64_t> id = as_count(list[i]);
      if (!id || *id >= vocab_size_) {
        complaints_.add(absl::StrCat(name, ".", i),
                        absl::StrCat("is ", shown(list[i]), ", must be ", allowed_ids()));
        break;
      }
      ids.push_back(*id);
    }
    return ids;
  }

  std::string allowed_ids() const {
    return absl::StrCat("from 0 to ", vocab_size_ - 1, " (the vocabulary)");
  }

  // The first token of a choice is predicted from the one before it.
  void check_context(const std::string& name) {
    const Json& context = (*json_)[name];
    const bool empty = context.is_array() ? context.empty() : item_.context.empty();
    if (empty && options_.prefix_token < 0) {
      complaints_.add(name, "is empty, must have a token (the model has none that begins a text)");
    }
  }

  void check_length(const std::string& name, const std::vector<int64_t>& choice) {
    const int64_t length = static_cast<int64_t>(choice.size());
    if (length > options_.sequence_length) {
      complaints_.add(name, absl::StrCat("has ", length, " tokens, must have at most ",
                                         options_.sequence_length, " (the sequence length)"));
    }
  }

  const absl::StatusOr<Tokenizer>& tokenizer_;
  int64_t vocab_size_;
  const ChoiceOptions& options_;
  Complaints& complaints_;
  const Json* json_ = nullptr;
  ChoiceItem item_;
};

// The object of a line; null after a complaint.
Json parse_line(std::string_view line, Complaints& complaints) {
  if (const std::optional<size_t> byte = first_not_utf8(line)) {
    complaints.add(absl::StrCat("is not UTF-8 (byte ", *byte + 1, ")"));
    return nullptr;
  }
  absl::StatusOr<Json> json = parse_json(line, kLimits);
  if (!json.ok()) {
    complaints.add(std::string(json.status().message()));
    return nullptr;
  }
  if (!json->is_object()) {
    complaints.add(
        absl::StrCat("is ", shown(*json), ", must be an object with context, choices and answer"));
    return nullptr;
  }
  return *std::move(json);
}

}  // namespace

absl::StatusOr<std::vector<ChoiceItem>> read_choice_tasks(
    const fs::path& path, const absl::StatusOr<Tokenizer>& tokenizer, int64_t vocab_size,
    const ChoiceOptions& options) {
  WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  Complaints complaints(path);
  ItemReader reader(tokenizer, vocab_size, options, complaints);
  std::vector<ChoiceItem> items;
  int64_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    complaints.enter(++line_number);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const size_t before = complaints.count();
    const Json json = parse_line(line, complaints);
    if (json.is_object()) items.push_back(reader.read(json));
    // Only a file without problems is used: what will not be need not be kept.
    if (complaints.count() > before) items.clear();
  }
  WEFT_RETURN_IF_ERROR(complaints.status());
  if (items.empty()) return bad_input(path.string(), ": has no items");
  return items;
}

}  // namespace weft
