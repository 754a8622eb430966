#include "models/block.h"

#include <ATen/TensorOperators.h>

namespace weft {
namespace {

std::string layer_prefix(int64_t index) { return "layers." + std::to_string(index); }

bool has_feed_forward(const LayerConfig& layer) {
  return !std::holds_alternative<std::monostate>(layer.feed_forward);
}

void declare_mixer(const ModelConfig& model, const AttentionConfig& c, const std::string& prefix,
                   ParameterTable& table) {
  Attention::declare(model, c, prefix, table);
}
void declare_mixer(const ModelConfig& model, const MambaConfig& c, const std::string& prefix,
                   ParameterTable& table) {
  Mamba::declare(model, c, prefix, table);
}
void declare_mixer(const ModelConfig& model, const Mamba2Config& c, const std::string& prefix,
                   ParameterTable& table) {
  Mamba2::declare(model, c, prefix, table);
}

}  // namespace

void Block::declare(const ModelConfig& model, int64_t index, ParameterTable& table) {
  const LayerConfig& layer = model.layers[index];
  const std::string prefix = layer_prefix(index);
  Norm::declare(model.norm, prefix + ".mixer_norm", model.hidden_size, table);
  std::visit([&](const auto& mixer) { declare_mixer(model, mixer, prefix + ".mixer", table); },
             layer.mixer);
  if (!has_feed_forward(layer)) return;
  Norm::declare(model.norm, prefix + ".feed_forward_norm", model.hidden_size, table);
  if (const auto* mlp = std::get_if<MlpConfig>(&layer.feed_forward)) {
    Mlp::declare(model, *mlp, prefix + ".feed_forward", table);
  } else {
    Moe::declare(model, std::get<MoeConfig>(layer.feed_forward), prefix + ".feed_forward", table);
  }
}

Block::Mixer Block::make_mixer(const ModelConfig& model, const LayerConfig& layer,
                               const ParameterStore& store, const std::string& prefix) {
  if (const auto* attention = std::get_if<AttentionConfig>(&layer.mixer)) {
    return Attention(*attention, model.norm.eps, store, prefix);
  }
  if (const auto* mamba = std::get_if<MambaConfig>(&layer.mixer)) {
    return Mamba(*mamba, model.norm.eps, store, prefix);
  }
  return Mamba2(std::get<Mamba2Config>(layer.mixer), model.norm.eps, store, prefix);
}

Block::FeedForward Block::make_feed_forward(const LayerConfig& layer, const ParameterStore& store,
                                            const std::string& prefix) {
  if (const auto* mlp = std::get_if<MlpConfig>(&layer.feed_forward)) {
    return Mlp(*mlp, store, prefix);
  }
  if (const auto* moe = std::get_if<MoeConfig>(&layer.feed_forward)) {
    return Moe(*moe, store, prefix);
  }
  return std::monostate{};
}

Block::Block(const ModelConfig& model, int64_t index, const ParameterStore& store)
    : compute_type_(store.types().compute),
      mixer_norm_(model.norm, store, layer_prefix(index) + ".mixer_norm"),
      mixer_(make_mixer(model, model.layers[index], store, layer_prefix(index) + ".mixer")),
      feed_forward_(
          make_feed_forward(model.layers[index], store, layer_prefix(index) + ".feed_forward")) {
  if (has_feed_forward(model.layers[index])) {
    feed_forward_norm_ = Norm(model.norm, store, layer_prefix(index) + ".feed_forward_norm");
  }
}

Tensor Block::forward(const Tensor& x, const ForwardPass& pass) const {
  const Tensor normed = mixer_norm_(x, compute_type_);
  const Tensor mixed =
      x + std::visit([&](const auto& mixer) { return mixer.forward(normed, pass); }, mixer_);
  return add_feed_forward(mixed, pass.stats);
}

Tensor Block::extend(const Tensor& x, NewTokens& tokens, LayerState& state) const {
  const Tensor normed = mixer_norm_(x, compute_type_);
  Tensor y;
  if (const auto* attention = std::get_if<Attention>(&mixer_)) {
    y = attention->extend(normed, tokens, std::get<AttentionState>(state));
  } else if (const auto* mamba = std::get_if<Mamba>(&mixer_)) {
    y = mamba->extend(normed, tokens, std::get<ScanState>(state));
  } else {
    y = std::get<Mamba2>(mixer_).extend(normed, tokens, std::get<ScanState>(state));
  }
  return add_feed_forward(x + y, nullptr);
}

Tensor Block::add_feed_forward(const Tensor& x, RouterStats* stats) const {
  if (std::holds_alternative<std::monostate>(feed_forward_)) return x;
  const Tensor normed = feed_forward_norm_(x, compute_type_);
  if (const auto* mlp = std::get_if<Mlp>(&feed_forward_)) return x + mlp->forward(normed);
  return x + std::get<Moe>(feed_forward_).forward(normed, stats);
}

}  // namespace weft
