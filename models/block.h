#pragma once
// One layer: x + mixer(norm(x)), then x + feed_forward(norm(x)) where it has one.
#include <string>
#include <variant>
#include <vector>

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

  // Whether what follows is possible for x [Bz, 1, d].
  bool can_decode(const Tensor& x) const;
  // extend(), always in x's memory, as work for one token of each row after the other: it reads
  // `tokens` and `state` where they are now. `scratch` outlives it. REQUIRES: can_decode(x).
  void add_decoding_work(NewTokens& tokens, LayerState& state, const Tensor& x,
                         cpu::Scratch& scratch, std::vector<cpu::StagedWorkPtr>& works) const;

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
  bool can_decode_mixer(const Tensor& x) const;
  bool can_decode_feed_forward(const Tensor& x) const;
  bool has_feed_forward_part() const {
    return !std::holds_alternative<std::monostate>(feed_forward_);
  }
  cpu::StagedWorkPtr mixer_work(NewTokens& tokens, LayerState& state, const Tensor& x,
                                cpu::Scratch& scratch) const;
  cpu::StagedWorkPtr feed_forward_work(const Tensor& x, cpu::Scratch& scratch) const;

  at::ScalarType compute_type_;
  Norm mixer_norm_, feed_forward_norm_;  // the second unset without a feed-forward part
  Mixer mixer_;
  FeedForward feed_forward_;
};

}  // namespace weft
