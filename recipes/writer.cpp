// Recipes as YAML (load.h): write_recipe, write_model.
#include "recipes/load.h"
#include "recipes/scalar.h"

namespace weft {
namespace {

// Block style, two spaces a level, every key that applies; lists of plain values in brackets.
class YamlWriter {
 public:
  explicit YamlWriter(int indent) : indent_(indent, ' ') {}

  template <class T>
  void field(const char* name, const T& value, const Check&, const char*) {
    text_.append(indent_).append(name).append(":");
    if constexpr (Described<T>) {
      text_.append("\n").append(nested(value, 2));
    } else if constexpr (IsMapList<T>::value) {
      write_maps(value);
    } else if constexpr (IsList<T>::value) {
      write_values(value);
    } else if constexpr (IsWordOrMap<T>::value) {
      write_word_or_map(value);
    } else {
      text_.append(" ").append(write_scalar(value)).append("\n");
    }
  }

  template <class F>
  void when(bool applies, const char*, F&& fields) {
    if (applies) fields();
  }

  const std::string& text() const { return text_; }

 private:
  template <class T>
  std::string nested(const T& value, int more) const {
    YamlWriter inner(static_cast<int>(indent_.size()) + more);
    T::describe(value, inner);
    return inner.text();
  }

  template <class T>
  void write_word_or_map(const T& value) {
    if (value.map.has_value()) {
      text_.append("\n").append(nested(*value.map, 2));
    } else {
      text_.append(" ").append(write_scalar(value.word)).append("\n");
    }
  }

  template <class T>
  void write_maps(const std::vector<T>& list) {
    text_ += list.empty() ? " []\n" : "\n";
    for (const T& item : list) {
      std::string map = nested(item, 4);
      map[indent_.size() + 2] = '-';
      text_ += map;
    }
  }

  template <class T>
  void write_values(const std::vector<T>& list) {
    text_ += " [";
    for (size_t i = 0; i < list.size(); ++i) {
      text_.append(i == 0 ? "" : ", ").append(write_scalar(list[i]));
    }
    text_ += "]\n";
  }

  const std::string indent_;
  std::string text_;
};

template <Described T>
std::string to_yaml(const T& value) {
  YamlWriter writer(0);
  T::describe(value, writer);
  return writer.text();
}

}  // namespace

std::string write_recipe(const Recipe& recipe) { return to_yaml(recipe); }

std::string write_model(const ModelRecipe& recipe) { return to_yaml(explicit_recipe(recipe)); }

}  // namespace weft
