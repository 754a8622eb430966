// The documentation of keys (explain.h), collected from the descriptions by one visitor.
#include "recipes/explain.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

#include "recipes/recipe.h"
#include "recipes/reference_intro.h"
#include "recipes/scalar.h"
#include "recipes/source_text.h"

namespace weft {
namespace {

struct KeyDoc {
  std::string path;       // without indices: "stages.data.sources.path"
  std::string type;       // type and range in words
  std::string otherwise;  // "required", "default 0.1", or ""
  std::string condition;  // the key exists only under it, or ""
  std::string doc;
};

template <class T>
std::string default_text(const T& value) {
  if constexpr (Described<T>) {
    return "";
  } else if constexpr (IsWordOrMap<T>::value) {
    return absl::StrCat("default ", write_scalar(value.word));
  } else if constexpr (IsMapList<T>::value) {
    return "default []";
  } else if constexpr (IsList<T>::value) {
    std::vector<std::string> texts;
    for (const auto& item : value) texts.push_back(write_scalar(item));
    return absl::StrCat("default [", absl::StrJoin(texts, ", "), "]");
  } else {
    return absl::StrCat("default ", write_scalar(value));
  }
}

class Documenter {
 public:
  Documenter(std::string prefix, std::string condition, std::vector<KeyDoc>& docs)
      : prefix_(std::move(prefix)), condition_(std::move(condition)), docs_(docs) {}

  template <class T>
  void field(const char* name, T& value, const Check& check, const char* doc) {
    const std::string path = prefix_ + name;
    docs_.push_back({path, allowed_words<T>(check),
                     check.required ? "required" : default_text(value), condition_, doc});
    if constexpr (IsMapList<T>::value) {
      typename T::value_type item;
      describe_under(item, path);
    } else if constexpr (IsWordOrMap<T>::value) {
      typename decltype(T().map)::value_type map;
      describe_under(map, path);
    } else if constexpr (Described<T>) {
      describe_under(value, path);
    }
  }

  template <class F>
  void when(bool, const char* condition, F&& fields) {
    const std::string outer = condition_;
    condition_ = outer.empty() ? condition : outer + ", " + condition;
    fields();
    condition_ = outer;
  }

 private:
  template <class T>
  void describe_under(T& value, const std::string& path) {
    Documenter inner(path + ".", condition_, docs_);
    T::describe(value, inner);
  }

  const std::string prefix_;
  std::string condition_;
  std::vector<KeyDoc>& docs_;
};

std::vector<KeyDoc> all_docs() {
  std::vector<KeyDoc> docs{{"extends", "text", "default none", "",
                            "a recipe beneath this one, relative to this file's folder"}};
  Recipe recipe;
  Documenter documenter("", "", docs);
  Recipe::describe(recipe, documenter);
  return docs;
}

bool is_under(const std::string& path, const std::string& key) {
  return key.empty() || path == key || path.rfind(key + ".", 0) == 0;
}

// "stages.0.steps" -> "stages.steps".
std::string without_indices(const std::string& key) {
  std::vector<std::string> parts = absl::StrSplit(key, '.');
  std::erase_if(parts, [](const std::string& part) {
    return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
      return std::isdigit(static_cast<unsigned char>(c)) != 0;
    });
  });
  return absl::StrJoin(parts, ".");
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

// The known key that `key` is most likely meant to be, or "": by its whole path, else by its last
// part.
std::string nearest_key(const std::string& key, const std::vector<KeyDoc>& docs) {
  std::vector<std::string> paths, names;
  for (const KeyDoc& doc : docs) {
    paths.push_back(doc.path);
    names.push_back(last_part(doc.path));
  }
  const std::string whole = nearest_word(key, paths);
  const std::string name = nearest_word(last_part(key), names);
  if (!whole.empty() || name.empty()) return whole;
  return paths[static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin())];
}

std::string facts(const KeyDoc& doc) {
  return absl::StrCat(doc.type, doc.otherwise.empty() ? "" : "; ", doc.otherwise,
                      doc.condition.empty() ? "" : "; only with ", doc.condition);
}

std::string table_row(const KeyDoc& doc) {
  const auto cell = [](const std::string& text) {
    return absl::StrReplaceAll(text, {{"|", "\\|"}, {"<", "&lt;"}});
  };
  const std::string only =
      doc.condition.empty() ? "" : absl::StrCat(" (only with ", doc.condition, ")");
  const std::string otherwise = absl::StrReplaceAll(doc.otherwise, {{"default ", ""}});
  return absl::StrCat("| `", doc.path, "` | ", cell(doc.type), " | ",
                      otherwise.empty() ? "" : absl::StrCat("`", cell(otherwise), "`"), " | ",
                      cell(doc.doc), only, " |\n");
}

}  // namespace

absl::StatusOr<std::string> explain(const std::string& key) {
  const std::string wanted = without_indices(key);
  const std::vector<KeyDoc> docs = all_docs();
  std::string text;
  for (const KeyDoc& doc : docs) {
    if (is_under(doc.path, wanted)) {
      absl::StrAppend(&text, doc.path, "  (", facts(doc), ")\n    ", doc.doc, "\n");
    }
  }
  if (!text.empty()) return text;
  const std::string near = nearest_key(wanted, docs);
  return bad_input("unknown key ", quoted(key), "; ",
                   near.empty() ? std::string("`weft explain` lists all keys")
                                : absl::StrCat("did you mean '", near, "'?"));
}

std::string recipe_reference() {
  std::string page = kReferenceIntro;
  std::string section;
  for (const KeyDoc& doc : all_docs()) {
    const std::string top = doc.path.substr(0, doc.path.find('.'));
    const bool is_section = doc.type.starts_with("a map") || doc.type.starts_with("a list of maps");
    const std::string here =
        doc.path.find('.') != std::string::npos || is_section ? top : "The run";
    if (here != section) {
      absl::StrAppend(&page, "\n## ", here,
                      "\n\n| key | type | default | meaning |\n|---|---|---|---|\n");
      section = here;
    }
    absl::StrAppend(&page, table_row(doc));
  }
  return page;
}

}  // namespace weft
