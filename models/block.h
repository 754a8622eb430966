#pragma once
// One layer: x + mixer(norm(x)), then x + feed_forward(norm(x)) where it has one.
#include <string>
#include <variant>

#include "base/tensor.h"
#include "models/attention.h"
#include "models/config.h"
#include "models/mamba.h"
#include "models/mamba2.h"
#include "models/mlp.h"
#include "models/moe.h"
#include "models/norm.h"

namespace weft {

class Block final {
 public:
  // The rows of layer `index`, all below "layers.<index>.".
  static void declare(const ModelConfig& model, int64_t index, ParameterTable& table);
  Block(const ModelConfig& model, int64_t index, const MiniSequences& mini_sequences,
        const ParameterStore& store);

  // x [Bz, T, d] -> [Bz, T, d], in x's type; what norms hand on is in the compute type. The sum
  // with the mixer's output is one pass with the norm behind it; that with the feed-forward's is
  // not, so that a layer gives one tensor, which is what recomputation keeps.
  Tensor forward(const Tensor& x, const ForwardPass& pass) const;
  // The same for the next T tokens of rows that go on from `state`, the layer's. x becomes the
  // result, in its memory or new: REQUIRES that no other tensor shares it. No gradients.
  void extend(NewTokens& tokens, LayerState& state, Tensor& x) const;

 private:
  using Mixer = std::variant<Attention, Mamba, Mamba2>;
  using FeedForward = std::variant<std::monostate, Mlp, Moe>;
  static Mixer make_mixer(const ModelConfig& model, const LayerConfig& layer,
                          const ParameterStore& store, const std::string& prefix);
  static FeedForward make_feed_forward(const LayerConfig& layer,
                                       const MiniSequences& mini_sequences,
                                       const ParameterStore& store, const std::string& prefix);
  Tensor mix(const Tensor& normed, NewTokens& tokens, LayerState& state) const;
  Tensor feed_forward(const Tensor& normed, RouterStats* stats, Values values) const;
  // x += feed_forward(norm(x)), in x's memory or new: REQUIRES that no other tensor shares it.
  void extend_feed_forward(Tensor& x) const;

  at::ScalarType compute_type_;
  Norm mixer_norm_, feed_forward_norm_;  // the second unset without a feed-forward part
  Mixer mixer_;
  FeedForward feed_forward_;
};

}  // namespace weft
