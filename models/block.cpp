#include "models/block.h"

#include <ATen/TensorOperators.h>

#include "models/norm.h"

namespace weft {
namespace {

std::string layer_prefix(int64_t index) { return "layers." + std::to_string(index); }

}  // namespace

void Block::declare(const ModelConfig& model, int64_t index, ParameterTable& table) {
  const LayerConfig& layer = model.layers[index];
  const std::string prefix = layer_prefix(index);
  table.add(norm_weight(prefix + ".mixer_norm.weight", model.hidden_size));
  if (const auto* attention = std::get_if<AttentionConfig>(&layer.mixer)) {
    Attention::declare(model, *attention, prefix + ".mixer", table);
  } else {
    Mamba::declare(model, std::get<MambaConfig>(layer.mixer), prefix + ".mixer", table);
  }
  if (std::holds_alternative<std::monostate>(layer.feed_forward)) return;
  table.add(norm_weight(prefix + ".feed_forward_norm.weight", model.hidden_size));
  if (const auto* mlp = std::get_if<MlpConfig>(&layer.feed_forward)) {
    Mlp::declare(model, *mlp, prefix + ".feed_forward", table);
  } else {
    Moe::declare(model, std::get<MoeConfig>(layer.feed_forward), prefix + ".feed_forward", table);
  }
}

Block::Mixer Block::make_mixer(const ModelConfig& model, const LayerConfig& layer,
                               const ParameterStore& store, const std::string& prefix) {
  if (const auto* attention = std::get_if<AttentionConfig>(&layer.mixer)) {
    return Attention(*attention, store, prefix);
  }
  return Mamba(std::get<MambaConfig>(layer.mixer), model.norm_eps, store, prefix);
}

Block::FeedForward Block::make_feed_forward(const LayerConfig& layer, const ParameterStore& store,
                                            const std::string& prefix) {
  if (std::holds_alternative<MlpConfig>(layer.feed_forward)) return Mlp(store, prefix);
  if (const auto* moe = std::get_if<MoeConfig>(&layer.feed_forward)) {
    return Moe(*moe, store, prefix);
  }
  return std::monostate{};
}

Block::Block(const ModelConfig& model, int64_t index, const ParameterStore& store)
    : norm_eps_(model.norm_eps),
      mixer_norm_(store.compute(layer_prefix(index) + ".mixer_norm.weight")),
      mixer_(make_mixer(model, model.layers[index], store, layer_prefix(index) + ".mixer")),
      feed_forward_(
          make_feed_forward(model.layers[index], store, layer_prefix(index) + ".feed_forward")) {
  if (!std::holds_alternative<std::monostate>(feed_forward_)) {
    feed_forward_norm_ = store.compute(layer_prefix(index) + ".feed_forward_norm.weight");
  }
}

Tensor Block::forward(const Tensor& x, const Documents& documents, RouterStats* stats) const {
  const Tensor mixed =
      x + std::visit(
              [&](const auto& mixer) {
                return mixer.forward(rms_norm(x, mixer_norm_, norm_eps_), documents);
              },
              mixer_);
  if (std::holds_alternative<std::monostate>(feed_forward_)) return mixed;
  const Tensor normed = rms_norm(mixed, feed_forward_norm_, norm_eps_);
  if (const auto* mlp = std::get_if<Mlp>(&feed_forward_)) return mixed + mlp->forward(normed);
  return mixed + std::get<Moe>(feed_forward_).forward(normed, stats);
}

}  // namespace weft
