#pragma once
// The two visitors of a family's list of config.json members (families.h in this folder): one reads
// them into a ModelRecipe, one writes them.
//
//   template <class V> void llama_members(V& v, ModelRecipe& m) {
//     v.member("hidden_size", m.hidden_size);              // must be there
//     v.member("rms_norm_eps", m.norm.eps, 1e-6);          // default of transformers' class
//     v.fixed("hidden_act", "silu");                       // weft computes nothing else
//     v.training_only("attention_dropout");                // a warning unless 0
//     v.ignored({"pretraining_tp"});                       // changes nothing
//   }
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/json.h"
#include "base/schema.h"

namespace weft {

namespace internal {
template <class T>
struct Plain {
  using Type = T;
};
template <class T, class Word>
struct Plain<OrWord<T, Word>> {
  using Type = T;
};
}  // namespace internal
// The type of value that a field holds.
template <class Field>
using PlainType = typename internal::Plain<Field>::Type;

class MemberReader {
 public:
  static constexpr bool kReads = true;
  explicit MemberReader(const Json& json) : json_(json) {}

  // Reads member `name` into `field`; `otherwise` where it is absent or null, an error without one.
  template <class Field>
  void member(const char* name, Field& field,
              std::optional<PlainType<Field>> otherwise = std::nullopt) {
    const Json* value = take(name);
    if (value == nullptr) {
      if (otherwise.has_value()) {
        field = *otherwise;
      } else {
        problem(name, "is missing");
      }
      return;
    }
    PlainType<Field> read{};
    if (!convert(name, *value, read)) return;
    field = read;
  }

  // A member that stays unset where it is absent or null.
  template <class T, class Word>
  void optional(const char* name, OrWord<T, Word>& field) {
    if (take(name) != nullptr) member(name, field);
  }

  // A member that, if there, must be `value`: weft computes nothing else.
  void fixed(const char* name, const Json& value);
  // A member that acts in training alone, and not in weft's: a warning unless it is 0 or absent.
  void training_only(const char* name);
  void ignored(std::initializer_list<const char*> names) {
    for (const char* name : names) known_.insert(name);
  }

  // The member, or null where it is absent or null. It counts as known from now on.
  const Json* take(const char* name);
  bool contains(const char* name) const { return json_.contains(name); }
  void problem(const std::string& name, const std::string& text) {
    problems_.push_back(absl::StrCat(name, ": ", text));
  }
  // Complains of every member that nothing has asked for and that is not null, false or empty.
  void refuse_unknown();

  const std::vector<std::string>& problems() const { return problems_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  bool convert(const char* name, const Json& value, int64_t& out);
  bool convert(const char* name, const Json& value, double& out);
  bool convert(const char* name, const Json& value, bool& out);

 private:
  const Json& json_;
  std::set<std::string> known_;
  std::vector<std::string> problems_, warnings_;
};

class MemberWriter {
 public:
  static constexpr bool kReads = false;

  template <class Field>
  void member(const char* name, const Field& field,
              std::optional<PlainType<Field>> = std::nullopt) {
    if constexpr (std::is_same_v<Field, PlainType<Field>>) {
      json_[name] = field;
    } else {
      json_[name] = *field;
    }
  }
  template <class T, class Word>
  void optional(const char* name, const OrWord<T, Word>& field) {
    if (field.has_value()) {
      json_[name] = *field;
    } else {
      json_[name] = nullptr;
    }
  }
  void fixed(const char* name, const Json& value) { json_[name] = value; }
  void training_only(const char* name) { json_[name] = 0.0; }
  void ignored(std::initializer_list<const char*>) {}

  Json& json() { return json_; }

 private:
  Json json_ = Json::object();
};

}  // namespace weft
