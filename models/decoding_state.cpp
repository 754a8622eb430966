#include "models/decoding_state.h"

#include <algorithm>
#include <array>

#include <ATen/ops/empty.h>
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
                     at::zeros({rows, c.inner_size, c.state_size}, state),
                     {}};
  }
  LayerState operator()(const Mamba2Config& c) const {
    return ScanState{at::zeros({rows, c.conv_kernel - 1, c.conv_channels()}, compute),
                     at::zeros({rows, c.num_heads, c.head_dim, c.state_size}, state),
                     {}};
  }
};

// Of one layer; rows are their first dimension.
std::array<Tensor*, 2> tensors(LayerState& layer) {
  if (auto* attention = std::get_if<AttentionState>(&layer)) return {&attention->k, &attention->v};
  auto& scan = std::get<ScanState>(layer);
  return {&scan.window, &scan.h};
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

DecodingState narrow_rows(const DecodingState& state, int64_t first, int64_t count) {
  WEFT_CHECK(0 <= first && 0 <= count && first + count <= state.rows(), "rows ", first, " to ",
             first + count, " of ", state.rows());
  DecodingState part = state;
  part.plan = nullptr;
  for (LayerState& layer : part.layers) {
    for (Tensor* tensor : tensors(layer)) *tensor = tensor->narrow(0, first, count);
  }
  part.lengths.assign(state.lengths.begin() + first, state.lengths.begin() + first + count);
  return part;
}

void put_rows(DecodingState part, int64_t first, DecodingState& state) {
  WEFT_CHECK(part.capacity == state.capacity && part.layers.size() == state.layers.size(),
             "states of different models or capacities");
  DecodingState place = narrow_rows(state, first, part.rows());
  for (size_t i = 0; i < part.layers.size(); ++i) {
    const std::array<Tensor*, 2> to = tensors(place.layers[i]), from = tensors(part.layers[i]);
    for (size_t j = 0; j < to.size(); ++j) {
      if (!to[j]->is_set_to(*from[j])) to[j]->copy_(*from[j]);
    }
  }
  std::copy(part.lengths.begin(), part.lengths.end(), state.lengths.begin() + first);
}

void clear(DecodingState& state) {
  for (LayerState& layer : state.layers) {
    for (Tensor* tensor : tensors(layer)) tensor->zero_();
    if (auto* scan = std::get_if<ScanState>(&layer)) scan->a = Tensor();
  }
  std::fill(state.lengths.begin(), state.lengths.end(), 0);
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
      bytes.shared += wide * static_cast<double>(m->inner_size * m->state_size);
    } else {
      const auto& m2 = std::get<Mamba2Config>(layer.mixer);
      bytes.scan += wide * static_cast<double>(m2.inner_size() * m2.state_size) +
                    narrow * static_cast<double>(m2.conv_channels() * (m2.conv_kernel - 1));
    }
  }
  return bytes;
}

Tensor next_positions(const std::vector<int64_t>& lengths, int64_t count) {
  Tensor positions = at::empty({static_cast<int64_t>(lengths.size()), count}, at::kLong);
  auto* position = positions.mutable_data_ptr<int64_t>();
  for (const int64_t length : lengths) {
    for (int64_t i = 0; i < count; ++i) *position++ = length + i;
  }
  return positions;
}

bool NewTokens::same_lengths() const {
  return std::all_of(lengths.begin(), lengths.end(),
                     [&](int64_t length) { return length == lengths[0]; });
}

}  // namespace weft
