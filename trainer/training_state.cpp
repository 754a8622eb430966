#include "trainer/training_state.h"

#include <nlohmann/json.hpp>

namespace weft {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kFormatVersion = 1;

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
}

}  // namespace

std::string to_json(const TrainingState& state) {
  Json json = {{"version", kFormatVersion}, {"weft", WEFT_VERSION}};
  for_each_field(state, [&](const char* name, const auto& value) { json[name] = value; });
  return json.dump(1) + "\n";
}

absl::StatusOr<TrainingState> state_from_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("version", 0) != kFormatVersion) {
    return bad_input("is not a training state of version ", kFormatVersion);
  }
  TrainingState state;
  std::string missing;
  for_each_field(state, [&](const char* name, auto& value) {
    if (json.contains(name) && json[name].is_number()) {
      json[name].get_to(value);
    } else {
      missing = name;
    }
  });
  if (!missing.empty()) return bad_input("has no number '", missing, "'");
  return state;
}

}  // namespace weft
