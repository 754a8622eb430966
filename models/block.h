#pragma once
// One layer: x + mixer(norm(x)), then x + feed_forward(norm(x)) where it has one.
#include <string>
#include <variant>

#include "base/tensor.h"
#include "models/attention.h"
#include "models/config.h"
#include "models/documents.h"
#include "models/mamba.h"
#include "models/mlp.h"
#include "models/moe.h"

namespace weft {

class Block final {
 public:
  // The rows of layer `index`, all below "layers.<index>.".
  static void declare(const ModelConfig& model, int64_t index, ParameterTable& table);
  Block(const ModelConfig& model, int64_t index, const ParameterStore& store);

  // x [Bz, T, d] -> [Bz, T, d].
  Tensor forward(const Tensor& x, const Documents& documents, RouterStats* stats) const;

 private:
  using Mixer = std::variant<Attention, Mamba>;
  using FeedForward = std::variant<std::monostate, Mlp, Moe>;
  static Mixer make_mixer(const ModelConfig& model, const LayerConfig& layer,
                          const ParameterStore& store, const std::string& prefix);
  static FeedForward make_feed_forward(const LayerConfig& layer, const ParameterStore& store,
                                       const std::string& prefix);

  double norm_eps_;
  Tensor mixer_norm_;         // [d]
  Tensor feed_forward_norm_;  // [d], undefined without a feed-forward part
  Mixer mixer_;
  FeedForward feed_forward_;
};

}  // namespace weft
