#include "models/decoding_state.h"

#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "base/check.h"

namespace weft {
namespace {

int64_t slots_of(const AttentionConfig& c, int64_t length) {
  return c.sliding_window > 0 ? std::min(c.sliding_window, length) : length;
}

struct Maker {
  int64_t rows, capacity;
  at::TensorOptions compute, state;

  LayerState operator()(const AttentionConfig& c) const {
    const std::vector<int64_t> shape = {rows, c.num_kv_heads, slots_of(c, capacity), c.head_dim};
    return AttentionState{at::zeros(shape, compute), at::zeros(shape, compute)};
  }
  LayerState operator()(const MambaConfig& c) const {
    return ScanState{at::zeros({rows, c.conv_kernel - 1, c.inner_size}, compute),
                     at::zeros({rows, c.inner_size, c.state_size}, state)};
  }
  LayerState operator()(const Mamba2Config& c) const {
    return ScanState{at::zeros({rows, c.conv_kernel - 1, c.conv_channels()}, compute),
                     at::zeros({rows, c.num_heads, c.head_dim, c.state_size}, state)};
  }
};

// f(tensors) for the tensors of one layer in every state: f makes the layer's new tensor out of
// them.
template <class F>
LayerState combine(const std::vector<const LayerState*>& layers, const F& f) {
  std::vector<Tensor> first, second;
  const bool attention = std::holds_alternative<AttentionState>(*layers[0]);
  for (const LayerState* layer : layers) {
    if (attention) {
      first.push_back(std::get<AttentionState>(*layer).k);
      second.push_back(std::get<AttentionState>(*layer).v);
    } else {
      first.push_back(std::get<ScanState>(*layer).window);
      second.push_back(std::get<ScanState>(*layer).h);
    }
  }
  if (attention) return AttentionState{f(first), f(second)};
  return ScanState{f(first), f(second)};
}

}  // namespace

DecodingState new_decoding_state(const ModelConfig& config, int64_t rows, int64_t capacity,
                                 at::ScalarType compute, at::Device device) {
  WEFT_CHECK(rows >= 0 && capacity >= 0, rows, " rows of ", capacity, " tokens");
  const at::ScalarType wide = compute == at::kDouble ? at::kDouble : at::kFloat;
  const Maker make{rows, capacity, at::TensorOptions(compute).device(device),
                   at::TensorOptions(wide).device(device)};
  DecodingState state;
  state.lengths.assign(static_cast<size_t>(rows), 0);
  state.capacity = capacity;
  for (const LayerConfig& layer : config.layers) {
    state.layers.push_back(std::visit(make, layer.mixer));
  }
  return state;
}

DecodingState join_rows(const std::vector<DecodingState>& states) {
  WEFT_CHECK(!states.empty(), "no state to join");
  DecodingState joined;
  joined.capacity = states[0].capacity;
  for (const DecodingState& state : states) {
    WEFT_CHECK(state.capacity == joined.capacity, "states of different capacity");
    joined.lengths.insert(joined.lengths.end(), state.lengths.begin(), state.lengths.end());
  }
  for (size_t i = 0; i < states[0].layers.size(); ++i) {
    std::vector<const LayerState*> layers;
    for (const DecodingState& state : states) layers.push_back(&state.layers[i]);
    joined.layers.push_back(
        combine(layers, [](const std::vector<Tensor>& parts) { return at::cat(parts); }));
  }
  return joined;
}

DecodingState select_rows(const DecodingState& state, const std::vector<int64_t>& rows) {
  DecodingState selected;
  selected.capacity = state.capacity;
  for (const int64_t row : rows) selected.lengths.push_back(state.lengths[row]);
  const Tensor index = at::tensor(rows, at::kLong);
  for (const LayerState& layer : state.layers) {
    selected.layers.push_back(combine({&layer}, [&](const std::vector<Tensor>& parts) {
      return parts[0].index_select(0, index.to(parts[0].device()));
    }));
  }
  return selected;
}

StateBytes state_bytes(const ModelConfig& config, int64_t length, int width) {
  const double narrow = width, wide = std::max(width, 4);
  StateBytes bytes;
  for (const LayerConfig& layer : config.layers) {
    if (const auto* a = std::get_if<AttentionConfig>(&layer.mixer)) {
      bytes.keys_and_values += 2 * narrow * static_cast<double>(a->num_kv_heads * a->head_dim) *
                               static_cast<double>(slots_of(*a, length));
    } else if (const auto* m = std::get_if<MambaConfig>(&layer.mixer)) {
      bytes.scan +=
          static_cast<double>(m->inner_size) * (wide * static_cast<double>(m->state_size) +
                                                narrow * static_cast<double>(m->conv_kernel - 1));
    } else {
      const auto& m2 = std::get<Mamba2Config>(layer.mixer);
      bytes.scan += wide * static_cast<double>(m2.inner_size() * m2.state_size) +
                    narrow * static_cast<double>(m2.conv_channels() * (m2.conv_kernel - 1));
    }
  }
  return bytes;
}

bool NewTokens::same_lengths() const {
  return std::all_of(lengths.begin(), lengths.end(),
                     [&](int64_t length) { return length == lengths[0]; });
}

}  // namespace weft
