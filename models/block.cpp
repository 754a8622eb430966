#include "models/block.h"

#include <ATen/TensorOperators.h>

#include "models/kernels/kept_results.h"

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

Block::FeedForward Block::make_feed_forward(const LayerConfig& layer,
                                            const MiniSequences& mini_sequences,
                                            const ParameterStore& store,
                                            const std::string& prefix) {
  if (const auto* mlp = std::get_if<MlpConfig>(&layer.feed_forward)) {
    return Mlp(*mlp, mini_sequences, store, prefix);
  }
  if (const auto* moe = std::get_if<MoeConfig>(&layer.feed_forward)) {
    return Moe(*moe, mini_sequences, store, prefix);
  }
  return std::monostate{};
}

Block::Block(const ModelConfig& model, int64_t index, const MiniSequences& mini_sequences,
             const ParameterStore& store)
    : compute_type_(store.types().compute),
      mixer_norm_(model.norm, store, layer_prefix(index) + ".mixer_norm"),
      mixer_(make_mixer(model, model.layers[index], store, layer_prefix(index) + ".mixer")),
      feed_forward_(make_feed_forward(model.layers[index], mini_sequences, store,
                                      layer_prefix(index) + ".feed_forward")) {
  if (has_feed_forward(model.layers[index])) {
    feed_forward_norm_ = Norm(model.norm, store, layer_prefix(index) + ".feed_forward_norm");
  }
}

Tensor Block::forward(const Tensor& x, const ForwardPass& pass) const {
  const auto mixed = [&] {  // held by nobody when the feed-forward runs
    const Tensor normed = mixer_norm_(x, compute_type_);
    return std::visit([&](const auto& mixer) { return mixer.forward(normed, pass); }, mixer_);
  };
  if (!has_feed_forward_part()) {
    const Tensor sum = x + mixed();
    forget_last_result();  // nothing is computed from the mixer's last product but the sum
    return sum;
  }
  const AddedNorm after = feed_forward_norm_.of_sum(x, mixed());
  return after.sum + feed_forward(after.normed, pass.stats, pass.values);
}

void Block::extend(NewTokens& tokens, LayerState& state, Tensor& x) const {
  cpu::Scratch scratch;
  if (tokens.count == 1 && can_decode_mixer(x)) {
    mixer_work(tokens, state, x, scratch)->run();
  } else {
    x = x + mix(mixer_norm_(x, compute_type_), tokens, state);
  }
  if (!has_feed_forward_part()) return;
  if (can_decode_feed_forward(x)) {
    feed_forward_work(x, scratch)->run();
  } else {
    x = x + feed_forward(feed_forward_norm_(x, compute_type_), nullptr, Values::kWanted);
  }
}

bool Block::can_decode(const Tensor& x) const {
  return can_decode_mixer(x) && (!has_feed_forward_part() || can_decode_feed_forward(x));
}

void Block::add_decoding_work(NewTokens& tokens, LayerState& state, const Tensor& x,
                              cpu::Scratch& scratch, std::vector<cpu::StagedWorkPtr>& works) const {
  scratch.rewind();
  works.push_back(mixer_work(tokens, state, x, scratch));
  if (!has_feed_forward_part()) return;
  scratch.rewind();
  works.push_back(feed_forward_work(x, scratch));
}

bool Block::can_decode_mixer(const Tensor& x) const {
  if (!mixer_norm_.can_decode(x, compute_type_)) return false;
  const auto* attention = std::get_if<Attention>(&mixer_);
  return attention != nullptr ? attention->can_decode() : std::holds_alternative<Mamba>(mixer_);
}

bool Block::can_decode_feed_forward(const Tensor& x) const {
  if (!feed_forward_norm_.can_decode(x, compute_type_)) return false;
  const auto* mlp = std::get_if<Mlp>(&feed_forward_);
  return mlp == nullptr || mlp->can_decode();
}

cpu::StagedWorkPtr Block::mixer_work(NewTokens& tokens, LayerState& state, const Tensor& x,
                                     cpu::Scratch& scratch) const {
  const RmsNormWeights norm = mixer_norm_.rms_weights();
  if (const auto* attention = std::get_if<Attention>(&mixer_)) {
    return attention->decoding_work(norm, tokens, std::get<AttentionState>(state), x, scratch);
  }
  return std::get<Mamba>(mixer_).decoding_work(norm, tokens, std::get<ScanState>(state), x,
                                               scratch);
}

cpu::StagedWorkPtr Block::feed_forward_work(const Tensor& x, cpu::Scratch& scratch) const {
  const RmsNormWeights norm = feed_forward_norm_.rms_weights();
  if (const auto* mlp = std::get_if<Mlp>(&feed_forward_)) {
    return mlp->decoding_work(norm, x, scratch);
  }
  return std::get<Moe>(feed_forward_).decoding_work(norm, x, scratch);
}

Tensor Block::mix(const Tensor& normed, NewTokens& tokens, LayerState& state) const {
  if (const auto* attention = std::get_if<Attention>(&mixer_)) {
    return attention->extend(normed, tokens, std::get<AttentionState>(state));
  }
  if (const auto* mamba = std::get_if<Mamba>(&mixer_)) {
    return mamba->extend(normed, tokens, std::get<ScanState>(state));
  }
  return std::get<Mamba2>(mixer_).extend(normed, tokens, std::get<ScanState>(state));
}

Tensor Block::feed_forward(const Tensor& normed, RouterStats* stats, Values values) const {
  if (const auto* mlp = std::get_if<Mlp>(&feed_forward_)) return mlp->forward(normed, values);
  return std::get<Moe>(feed_forward_).forward(normed, stats);
}

}  // namespace weft
