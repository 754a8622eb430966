#pragma once
// One entry of `model.layers` of a recipe: a mixer, a feed-forward part, and how often in a row.
// Whatever is `auto` takes the value that the model has for all its layers (model_recipe.h).
#include "base/schema.h"
#include "models/config.h"

namespace weft {

enum class MixerKind { kAttention, kMamba, kMamba2 };
constexpr auto enum_names(MixerKind) {
  return std::array{EnumName{MixerKind::kAttention, "attention"},
                    EnumName{MixerKind::kMamba, "mamba"}, EnumName{MixerKind::kMamba2, "mamba2"}};
}
enum class FeedForwardKind { kMlp, kMoe, kNone };
constexpr auto enum_names(FeedForwardKind) {
  return std::array{EnumName{FeedForwardKind::kMlp, "mlp"}, EnumName{FeedForwardKind::kMoe, "moe"},
                    EnumName{FeedForwardKind::kNone, "none"}};
}

// Upper bounds that keep products of sizes inside int64 and mistyped numbers out.
inline constexpr int64_t kMaxWidth = 1 << 24;
inline constexpr int64_t kMaxLayers = 10'000;

struct AttentionRecipe {
  Auto<int64_t> num_heads, num_kv_heads, head_dim, sliding_window;
  Auto<bool> bias;
  static void describe(auto& self, auto& schema) {
    schema.field("num_heads", self.num_heads, within(1, kMaxWidth),
                 "query heads; auto: model.num_heads");
    schema.field("num_kv_heads", self.num_kv_heads, within(1, kMaxWidth),
                 "key/value heads; auto: model.num_kv_heads");
    schema.field("head_dim", self.head_dim, within(1, kMaxWidth),
                 "head width; auto: model.head_dim");
    schema.field("sliding_window", self.sliding_window, within(0, 1 << 30),
                 "tokens that a token sees, itself among them; 0: all; auto: "
                 "model.attention.sliding_window");
    schema.field("bias", self.bias, any(), "bias on q, k, v and o; auto: model.attention.bias");
  }
};

struct MixerRecipe {
  MixerKind kind = MixerKind::kAttention;
  AttentionRecipe attention;
  Auto<int64_t> state_size, conv_kernel, expand, dt_rank;
  Auto<bool> inner_norms;
  static void describe(auto& self, auto& schema) {
    schema.field("kind", self.kind, required(), "what mixes tokens in this layer");
    schema.when(self.kind == MixerKind::kAttention, "kind: attention",
                [&] { AttentionRecipe::describe(self.attention, schema); });
    schema.when(self.kind != MixerKind::kAttention, "kind: mamba or mamba2", [&] {
      schema.field("state_size", self.state_size, within(1, 4096),
                   "auto: that of model.mamba or model.mamba2");
      schema.field("conv_kernel", self.conv_kernel, within(1, 64),
                   "auto: that of model.mamba or model.mamba2");
      schema.field("expand", self.expand, within(1, 64),
                   "auto: that of model.mamba or model.mamba2");
    });
    schema.when(self.kind == MixerKind::kMamba, "kind: mamba", [&] {
      schema.field("dt_rank", self.dt_rank, within(1, kMaxWidth), "auto: model.mamba.dt_rank");
      schema.field("inner_norms", self.inner_norms, any(), "auto: model.mamba.inner_norms");
    });
  }
};

struct FeedForwardRecipe {
  FeedForwardKind kind = FeedForwardKind::kMlp;
  Auto<int64_t> intermediate_size, num_experts, top_k;
  Auto<bool> renormalize;
  static void describe(auto& self, auto& schema) {
    schema.field("kind", self.kind, required(), "what follows the mixer");
    schema.when(self.kind != FeedForwardKind::kNone, "kind: mlp or moe", [&] {
      schema.field("intermediate_size", self.intermediate_size, within(1, kMaxWidth),
                   "hidden width (of one expert); auto: model.intermediate_size");
    });
    schema.when(self.kind == FeedForwardKind::kMoe, "kind: moe", [&] {
      schema.field("num_experts", self.num_experts, within(1, 65536),
                   "auto: model.moe.num_experts");
      schema.field("top_k", self.top_k, within(1, 65536), "auto: model.moe.top_k");
      schema.field("renormalize", self.renormalize, any(), "auto: model.moe.renormalize");
    });
  }
};

struct LayerRecipe {
  int64_t repeat = 1;
  MixerRecipe mixer;
  FeedForwardRecipe feed_forward;
  static void describe(auto& self, auto& schema) {
    schema.field("repeat", self.repeat, within(1, kMaxLayers), "how many such layers in a row");
    schema.field("mixer", self.mixer, required(), "attention or a state-space mixer");
    schema.field("feed_forward", self.feed_forward, required(),
                 "dense, mixture of experts or none");
  }
};

}  // namespace weft
