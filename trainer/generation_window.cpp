#include "trainer/generation_window.h"

#include <algorithm>
#include <variant>

#include "recipes/available_memory.h"

namespace weft {

std::optional<int64_t> generation_window(const LoadedModel& model, std::optional<int64_t> asked) {
  if (asked.has_value()) return asked;
  const ModelConfig& config = model.model->config();
  const bool attends =
      std::any_of(config.layers.begin(), config.layers.end(), [](const LayerConfig& layer) {
        return std::holds_alternative<AttentionConfig>(layer.mixer);
      });
  if (!attends && config.learned_positions == 0) return std::nullopt;
  return model.sequence_length;
}

absl::Status check_window(const LoadedModel& model, std::optional<int64_t> window,
                          const std::vector<Prompt>& prompts, Log& log) {
  if (!window.has_value()) return absl::OkStatus();
  const int64_t positions = model.model->config().learned_positions;
  if (positions > 0 && *window > positions) {
    return bad_input("--window: is ", *window, ", the model has positions for ", positions);
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto size = static_cast<int64_t>(prompts[i].tokens.size());
    if (size <= *window) continue;
    if (*window == positions) {
      return bad_input("prompt ", i + 1, ": has ", size, " tokens, the window is ", *window,
                       ", all the positions that the model has");
    }
    log.warning("prompt ", i + 1, ": has ", size, " tokens, of which the window reads the last ",
                *window, " (--window sets it)");
  }
  return absl::OkStatus();
}

absl::Status check_state_memory(const LoadedModel& model, const StateSize& size) {
  const StoreTypes& types = model.runtime.types;
  const StateBytes row = state_bytes(model.model->config(), size.capacity,
                                     static_cast<int>(c10::elementSize(types.compute)));
  const double state =
      static_cast<double>(size.rows) * (row.keys_and_values + row.scan) + row.shared;
  const auto weights =
      static_cast<double>(store_bytes(model.store->table(), types, Gradients::kNone));
  const at::DeviceType device = types.device.type();
  if (state + weights <= static_cast<double>(available_memory(device))) return absl::OkStatus();
  return bad_input("--window, --max-tokens, --batch: ", size.rows,
                   " prompts at once with room for ", size.capacity, " tokens each need ",
                   gib_text(state), " of memory beside ", gib_text(weights), " of weights, ",
                   available_words(device));
}

}  // namespace weft
