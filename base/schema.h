#pragma once
// The description of a config struct: one `describe` next to the struct lists its fields, and
// everything that works on configs is a visitor of it: reading YAML, checking ranges, printing the
// resolved recipe, `weft explain`, the reference page, comparing two recipes.
//
//   struct OptimConfig {
//     double weight_decay = 0.1;
//     static void describe(auto& self, auto& schema) {
//       schema.field("weight_decay", self.weight_decay, at_least(0), "decoupled weight decay");
//     }
//   };
//
// Kinds of field, told apart by their C++ type: bool, int64_t, double, std::string, an enum with
// `enum_names`, OrWord<T, Word> (a value or one word such as `auto`), std::vector of any of these,
// a described struct (a map), std::vector of a described struct (a list of maps), WordOrMap<E, T>
// (a word of an enum, or a map).
//
// A visitor has
//   template <class T> void field(const char* name, T& value, const Check& check, const char* doc);
//   template <class F> void when(bool applies, const char* condition, F&& fields);
// `when` lists fields that exist only under a condition on fields listed before it (those of one
// `kind`); visitors that document, visit them always.
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft {

// What a field accepts beyond its type.
struct Check {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;   // low itself is not allowed
  bool high_open = false;  // high itself is not allowed
  bool required = false;   // there is no default: the key must be written
  bool not_empty = false;  // of strings and lists

  // Why `value` is refused ("must be at least 1"), or empty.
  std::string refuse(double value) const;
  std::string refuse(const std::string& value) const;
  std::string refuse_size(size_t list_size) const;
  // The allowed values in words for documentation ("at least 1"), or empty if all are.
  std::string words() const;
};

constexpr Check any() { return {}; }
constexpr Check above(double low) { return {.low = low, .low_open = true}; }
constexpr Check at_least(double low) { return {.low = low}; }
constexpr Check within(double low, double high) { return {.low = low, .high = high}; }
constexpr Check not_empty() { return {.not_empty = true}; }
constexpr Check required(Check check = {}) {
  check.required = true;
  return check;
}

// A value, or a word that stands for "weft decides": `threads: auto`, `max_tokens: all`.
template <class T, class Word>
struct OrWord {
  std::optional<T> value;  // empty: the word

  OrWord() = default;
  OrWord(T v) : value(std::move(v)) {}  // NOLINT: a plain value is one of the two cases
  static constexpr const char* word() { return Word::kText; }
  bool has_value() const { return value.has_value(); }
  const T& operator*() const { return *value; }
  T value_or(T fallback) const { return value.value_or(std::move(fallback)); }
  bool operator==(const OrWord&) const = default;
};
struct AutoWord {
  static constexpr const char* kText = "auto";
};
struct AllWord {
  static constexpr const char* kText = "all";
};
struct NoneWord {
  static constexpr const char* kText = "none";
};
template <class T>
using OrNone = OrWord<T, NoneWord>;
template <class T>
using Auto = OrWord<T, AutoWord>;
template <class T>
using OrAll = OrWord<T, AllWord>;

// An enum is a field type once it has, in its own namespace,
//   constexpr auto enum_names(Kind) { return std::array{EnumName{Kind::kA, "a"}, ...}; }
template <class E>
struct EnumName {
  E value;
  const char* name;
};
template <class E>
EnumName(E, const char*) -> EnumName<E>;

template <class E>
concept NamedEnum = requires(E e) {
  enum_names(e);
};

template <NamedEnum E>
const char* name_of(E value) {
  for (const auto& entry : enum_names(value)) {
    if (entry.value == value) return entry.name;
  }
  return "?";
}

// A struct with a static describe(self, schema).
namespace internal {
struct NullSchema {
  template <class T>
  void field(const char*, T&, const Check&, const char*) {}
  template <class F>
  void when(bool, const char*, F&&) {}
};
}  // namespace internal
template <class T>
concept Described = requires(T& t, internal::NullSchema& s) {
  T::describe(t, s);
};

// One of an enum's words, or a map: `mini_sequences: auto`, `mini_sequences: {mlp_rows: 512, ..}`.
template <NamedEnum E, Described T>
struct WordOrMap {
  E word{};              // counts where there is no map
  std::optional<T> map;  // has operator==

  WordOrMap() = default;
  WordOrMap(E w) : word(w) {}                      // NOLINT: one of the two cases
  WordOrMap(T values) : map(std::move(values)) {}  // NOLINT: the other
  bool operator==(const WordOrMap&) const = default;
};

// What is wrong with a recipe, all of it, under the key that has to change.
//
//   Problems problems;
//   auto scope = problems.enter("stages", 0);       // keys below are relative to stages.0
//   problems.add("steps", "must be at least 1");    // stages.0.steps
class Problems {
 public:
  enum class Severity { kError, kWarning };
  struct Problem {
    std::string path;     // "stages.0.steps"; "" is the whole recipe
    std::string message;  // found and allowed, without the path
    Severity severity;
  };

  class Scope {
   public:
    ~Scope() { problems_.prefix_.resize(size_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    friend class Problems;
    Scope(Problems& problems, size_t size) : problems_(problems), size_(size) {}
    Problems& problems_;
    size_t size_;
  };

  [[nodiscard]] Scope enter(std::string_view key);
  [[nodiscard]] Scope enter(std::string_view key, size_t index);

  void add(std::string_view key, std::string message) {
    put(key, std::move(message), Severity::kError);
  }
  void warn(std::string_view key, std::string message) {
    put(key, std::move(message), Severity::kWarning);
  }

  bool has_errors() const;
  const std::vector<Problem>& all() const { return all_; }
  // "path: message" a line, without locations; what tests compare with.
  std::string text() const;

 private:
  void put(std::string_view key, std::string message, Severity severity);

  std::string prefix_;
  std::vector<Problem> all_;
};

// The element of `known` nearest to `word` by edit distance, or empty if none is near enough to be
// a likely slip (distance at most max(1, length / 3)).
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace weft
