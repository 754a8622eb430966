#pragma once
// Single values of a recipe: from YAML text to C++ and back, and their types in words. The kinds
// are those of base/schema.h; maps and lists are the visitors' business (reader.h, writer.cpp).
#include <cstdint>
#include <string>
#include <type_traits>

#include "base/schema.h"
#include "recipes/yaml_tree.h"

namespace weft {

template <class T>
struct IsOrWord : std::false_type {};
template <class T, class Word>
struct IsOrWord<OrWord<T, Word>> : std::true_type {};

template <class T>
struct IsList : std::false_type {};
template <class T>
struct IsList<std::vector<T>> : std::true_type {};

// A list of described structs: a list of maps in YAML.
template <class T>
struct IsMapList : std::false_type {};
template <Described T>
struct IsMapList<std::vector<T>> : std::true_type {};

template <class T>
struct IsWordOrMap : std::false_type {};
template <class E, class M>
struct IsWordOrMap<WordOrMap<E, M>> : std::true_type {};

// What is allowed by type: "an integer", "true or false", "a number or auto", "a list of numbers".
template <class T>
std::string type_words() {
  if constexpr (IsOrWord<T>::value) {
    return type_words<typename std::decay_t<decltype(*T().value)>>() + " or " + T::word();
  } else if constexpr (NamedEnum<T>) {
    std::string words;
    for (const auto& entry : enum_names(T{}))
      words += (words.empty() ? "" : ", ") + std::string(entry.name);
    return enum_names(T{}).size() == 1 ? words : "one of " + words;
  } else if constexpr (IsMapList<T>::value) {
    return "a list of maps";
  } else if constexpr (IsList<T>::value) {
    return "a list, each " + type_words<typename T::value_type>();
  } else if constexpr (IsWordOrMap<T>::value) {
    std::string words;
    for (const auto& entry : enum_names(T().word)) words += std::string(entry.name) + ", ";
    return words.substr(0, words.size() - 2) + " or a map";
  } else if constexpr (Described<T>) {
    return "a map";
  } else if constexpr (std::is_same_v<T, bool>) {
    return "true or false";
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return "an integer";
  } else if constexpr (std::is_same_v<T, double>) {
    return "a number";
  } else {
    static_assert(std::is_same_v<T, std::string>);
    return "text";
  }
}

// The same with the range: "an integer from 1 to 4096 or auto", "text, not empty".
template <class T>
std::string allowed_words(const Check& check) {
  if constexpr (IsOrWord<T>::value) {
    using Value = typename std::decay_t<decltype(*T().value)>;
    return allowed_words<Value>(check) + " or " + T::word();
  } else if constexpr (IsList<T>::value && !IsMapList<T>::value) {
    return "a list, each " + allowed_words<typename T::value_type>(check);
  } else {
    const std::string range = check.words();
    constexpr bool kNumber = std::is_same_v<T, int64_t> || std::is_same_v<T, double>;
    return type_words<T>() + (range.empty() ? "" : kNumber ? " " : ", ") + range;
  }
}

// "is a list", "is 'abc'", "has no value".
std::string found_words(const YamlNode& node);

// These read one scalar into `value`. They return why not, without what is allowed by type ("is
// 'abc'"), or "". Integers are plain decimals or, where that is exact, written as 1e6; no leading
// zeros, which YAML would take for octal digits.
std::string read_plain(const YamlNode& node, bool& value);
std::string read_plain(const YamlNode& node, int64_t& value);
std::string read_plain(const YamlNode& node, double& value);
std::string read_plain(const YamlNode& node, std::string& value);

// As YAML; what read_plain turns back into the same value (doubles to the last bit).
std::string write_plain(bool value);
std::string write_plain(int64_t value);
std::string write_plain(double value);
std::string write_plain(const std::string& value);

// "; did you mean 'none'?" where a word is near to one of several, or "".
template <NamedEnum T>
std::string suggestion(const YamlNode& node) {
  std::vector<std::string> names;
  for (const auto& entry : enum_names(T{})) names.push_back(entry.name);
  const std::string near = nearest_word(node.text, names);
  return near.empty() || names.size() == 1 ? "" : "; did you mean '" + near + "'?";
}

// Reads a scalar of any kind, checks its range, and stores it if nothing is wrong. Returns the
// complaint in full ("is 0, must be at least 1"), or "".
template <class T>
std::string read_scalar(const YamlNode& node, const Check& check, T& value) {
  if constexpr (IsOrWord<T>::value) {
    if (node.kind == YamlNode::Kind::kScalar && !node.quoted && node.text == T::word()) {
      value = T();
      return "";
    }
    typename std::decay_t<decltype(*value.value)> inner{};
    std::string problem = read_scalar(node, check, inner);
    if (problem.empty())
      value.value = inner;
    else
      problem += std::string(" or ") + T::word();
    return problem;
  } else if constexpr (NamedEnum<T>) {
    for (const auto& entry : enum_names(T{})) {
      if (node.kind == YamlNode::Kind::kScalar && node.text == entry.name) {
        value = entry.value;
        return "";
      }
    }
    return found_words(node) + ", must be " + type_words<T>() + suggestion<T>(node);
  } else {
    T read{};
    const std::string problem = read_plain(node, read);
    if (!problem.empty()) return problem + ", must be " + type_words<T>();
    std::string refused;
    if constexpr (std::is_same_v<T, std::string>)
      refused = check.refuse(read);
    else if constexpr (!std::is_same_v<T, bool>)
      refused = check.refuse(static_cast<double>(read));
    if (refused.empty()) value = std::move(read);
    return refused;
  }
}

template <class T>
std::string write_scalar(const T& value) {
  if constexpr (IsOrWord<T>::value) {
    return value.has_value() ? write_scalar(*value) : T::word();
  } else if constexpr (NamedEnum<T>) {
    return name_of(value);
  } else {
    return write_plain(value);
  }
}

}  // namespace weft
