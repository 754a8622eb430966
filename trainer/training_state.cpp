#include "trainer/training_state.h"

#include <cmath>
#include <concepts>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace weft {
namespace {

constexpr int kFormatVersion = 2;
constexpr JsonLimits kLimits = {.depth = 4, .values = 1 << 16};

// Calls visit(name, field) for every field.
template <class State, class Visit>
void for_each_field(State& state, Visit visit) {
  visit("step", state.step);
  visit("tokens", state.tokens);
  visit("threads", state.threads);
  visit("grad_norm_mean", state.grad_norm_mean);
  visit("guard_updates", state.guard_updates);
  visit("skipped", state.skipped);
  visit("skipped_in_a_row", state.skipped_in_a_row);
  visit("compute", state.compute);
  visit("data", state.data);
}

bool read_field(const Json& json, const char* name, double& value) {
  const auto member = json.find(name);
  if (member == json.end() || !member->is_number()) return false;
  member->get_to(value);
  return true;
}

bool read_field(const Json& json, const char* name, std::string& value) {
  const std::string* text = find_string(json, name);
  if (text != nullptr) value = *text;
  return text != nullptr;
}

bool read_field(const Json& json, const char* name, std::vector<std::string>& values) {
  const auto member = json.find(name);
  if (member == json.end() || !member->is_array()) return false;
  for (const Json& item : *member) {
    if (!item.is_string()) return false;
    values.push_back(item.get<std::string>());
  }
  return true;
}

template <std::integral T>
bool read_field(const Json& json, const char* name, T& value) {
  const std::optional<int64_t> count = find_count(json, name);
  if (!count.has_value() || !std::in_range<T>(*count)) return false;
  value = static_cast<T>(*count);
  return true;
}

}  // namespace

std::string to_json(const TrainingState& state) {
  WEFT_CHECK(std::isfinite(state.grad_norm_mean), "JSON has no word for ", state.grad_norm_mean);
  nlohmann::ordered_json json = {{"version", kFormatVersion}, {"weft", WEFT_VERSION}};
  for_each_field(state, [&](const char* name, const auto& value) { json[name] = value; });
  return json.dump(1) + "\n";
}

absl::StatusOr<TrainingState> state_from_json(const std::string& text) {
  WEFT_ASSIGN_OR_RETURN(const Json json, parse_json(text, kLimits));
  const std::optional<int64_t> version = find_count(json, "version");
  if (!version.has_value()) return bad_input("is not a training state");
  if (*version != kFormatVersion) {
    return unreadable_input("is a training state of version ", *version, ", this weft reads ",
                            kFormatVersion);
  }
  TrainingState state;
  std::string wrong;
  for_each_field(state, [&](const char* name, auto& value) {
    if (!read_field(json, name, value)) wrong = name;
  });
  if (!wrong.empty()) return bad_input("has no valid value '", wrong, "'");
  return state;
}

}  // namespace weft
