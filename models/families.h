#pragma once
// What `model:` of a recipe says, and the functions from its few numbers to a list of layers. A
// family is such a function; `layers` in a recipe is the list itself. Either way the result is
// ModelConfig.
#include <string>
#include <vector>

#include "base/schema.h"
#include "models/config.h"

namespace weft {

enum class Family { kLayers, kJamba, kLlama };
constexpr auto enum_names(Family) {
  return std::array{EnumName{Family::kLayers, "layers"}, EnumName{Family::kJamba, "jamba"},
                    EnumName{Family::kLlama, "llama"}};
}
constexpr auto enum_names(RopeType) {
  return std::array{EnumName{RopeType::kNone, "none"}, EnumName{RopeType::kDefault, "default"}};
}
enum class MixerKind { kAttention, kMamba };
constexpr auto enum_names(MixerKind) {
  return std::array{EnumName{MixerKind::kAttention, "attention"},
                    EnumName{MixerKind::kMamba, "mamba"}};
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
  Auto<int64_t> num_heads, num_kv_heads, head_dim;
  Auto<bool> bias;
  static void describe(auto& self, auto& schema) {
    schema.field("num_heads", self.num_heads, within(1, kMaxWidth),
                 "query heads; auto: model.num_heads");
    schema.field("num_kv_heads", self.num_kv_heads, within(1, kMaxWidth),
                 "key/value heads; auto: model.num_kv_heads");
    schema.field("head_dim", self.head_dim, within(1, kMaxWidth),
                 "head width; auto: model.head_dim");
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
    schema.when(self.kind == MixerKind::kMamba, "kind: mamba", [&] {
      schema.field("state_size", self.state_size, within(1, 4096), "auto: model.mamba.state_size");
      schema.field("conv_kernel", self.conv_kernel, within(1, 64), "auto: model.mamba.conv_kernel");
      schema.field("expand", self.expand, within(1, 64), "auto: model.mamba.expand");
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

struct NormRecipe {
  Auto<double> eps;
  static void describe(auto& self, auto& schema) {
    schema.field("eps", self.eps, within(0, 1), "added to the mean square; auto: the family's");
  }
};

struct AttentionDefaults {
  bool bias = false;
  static void describe(auto& self, auto& schema) {
    schema.field("bias", self.bias, any(), "bias on q, k, v and o");
  }
};

struct MlpDefaults {
  bool bias = false;
  static void describe(auto& self, auto& schema) {
    schema.field("bias", self.bias, any(), "bias on gate, up and down");
  }
};

struct RopeRecipe {
  Auto<RopeType> type;
  double theta = 10000.0;
  static void describe(auto& self, auto& schema) {
    schema.field("type", self.type, any(),
                 "rotary position embedding; auto: none for jamba, else default");
    schema.field("theta", self.theta, above(1), "base of the rotary frequencies");
  }
};

struct InitRecipe {
  double std = 0.02;
  bool depth_scaled = false;
  static void describe(auto& self, auto& schema) {
    schema.field("std", self.std, within(0, 10),
                 "standard deviation of linear layers and embedding");
    schema.field("depth_scaled", self.depth_scaled, any(),
                 "divide it by sqrt(2 num_layers) for projections back into the residual stream");
  }
};

struct MoeRecipe {
  int64_t num_experts = 8;
  int64_t top_k = 2;
  bool renormalize = false;
  double aux_coef = 1e-3;
  double z_coef = 0.0;
  static void describe(auto& self, auto& schema) {
    schema.field("num_experts", self.num_experts, within(1, 65536), "experts of a layer");
    schema.field("top_k", self.top_k, within(1, 65536), "experts that a token uses");
    schema.field("renormalize", self.renormalize, any(),
                 "divide the top_k probabilities by their sum (Mixtral) or not (Jamba)");
    schema.field("aux_coef", self.aux_coef, within(0, 100),
                 "weight of the load-balancing loss (Switch form, per sequence, arXiv:2101.03961)");
    schema.field("z_coef", self.z_coef, within(0, 100),
                 "weight of the router z-loss (arXiv:2202.08906)");
  }
};

struct MambaRecipe {
  int64_t state_size = 16;
  int64_t conv_kernel = 4;
  int64_t expand = 2;
  Auto<int64_t> dt_rank;
  bool conv_bias = true;
  bool proj_bias = false;
  Auto<bool> inner_norms;
  double dt_min = 1e-3, dt_max = 0.1, dt_floor = 1e-4, dt_scale = 1.0;
  static void describe(auto& self, auto& schema) {
    schema.field("state_size", self.state_size, within(1, 4096), "state values of a channel (N)");
    schema.field("conv_kernel", self.conv_kernel, within(1, 64),
                 "taps of the causal convolution (K)");
    schema.field("expand", self.expand, within(1, 64), "inner width / hidden_size");
    schema.field("dt_rank", self.dt_rank, within(1, kMaxWidth),
                 "rank of the step-size projection; auto: ceil(hidden_size / 16)");
    schema.field("conv_bias", self.conv_bias, any(), "bias of the convolution");
    schema.field("proj_bias", self.proj_bias, any(), "biases of the input and output projections");
    schema.field("inner_norms", self.inner_norms, any(),
                 "RMSNorm of dt, B and C; auto: true for jamba, else false");
    schema.field("dt_min", self.dt_min, within(1e-12, 1e6), "smallest initial step size");
    schema.field("dt_max", self.dt_max, within(1e-12, 1e6), "largest initial step size");
    schema.field("dt_floor", self.dt_floor, within(1e-12, 1e6),
                 "lower clamp of initial step sizes");
    schema.field("dt_scale", self.dt_scale, within(1e-12, 1e6),
                 "scale of the initial dt projection");
  }
};

struct LayoutRecipe {
  int64_t attention_period = 8, attention_offset = 4;
  int64_t moe_period = 2, moe_offset = 1;
  static void describe(auto& self, auto& schema) {
    schema.field(
        "attention_period", self.attention_period, within(1, kMaxLayers),
        "jamba: layer i is attention if i mod attention_period = attention_offset, else Mamba");
    schema.field("attention_offset", self.attention_offset, within(0, kMaxLayers),
                 "see attention_period");
    schema.field("moe_period", self.moe_period, within(1, kMaxLayers),
                 "jamba: layer i has experts if i mod moe_period = moe_offset, else a dense MLP");
    schema.field("moe_offset", self.moe_offset, within(0, kMaxLayers), "see moe_period");
  }
};

struct ModelRecipe {
  Family family = Family::kLayers;
  Auto<int64_t> vocab_size;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  std::vector<LayerRecipe> layers;
  Auto<int64_t> num_heads, num_kv_heads, head_dim, intermediate_size;
  bool tie_embeddings = false;
  NormRecipe norm;
  AttentionDefaults attention;
  MlpDefaults mlp;
  RopeRecipe rope;
  InitRecipe init;
  MoeRecipe moe;
  MambaRecipe mamba;
  LayoutRecipe layout;

  static void describe(auto& self, auto& schema) {
    schema.field("family", self.family, any(), "how the list of layers is made");
    schema.field("vocab_size", self.vocab_size, within(1, kMaxWidth),
                 "rows of embedding and head; auto: the tokenizer's");
    schema.field("hidden_size", self.hidden_size, required(within(1, kMaxWidth)),
                 "width of the residual stream");
    schema.when(self.family != Family::kLayers, "a family", [&] {
      schema.field("num_layers", self.num_layers, required(within(1, kMaxLayers)),
                   "number of layers");
    });
    schema.when(self.family == Family::kLayers, "family: layers", [&] {
      schema.field("layers", self.layers, required(not_empty()), "the list of layers");
    });
    schema.field("num_heads", self.num_heads, within(1, kMaxWidth),
                 "query heads; auto: hidden_size / 64, at least 1, or the next lower divisor");
    schema.field("num_kv_heads", self.num_kv_heads, within(1, kMaxWidth),
                 "key/value heads; auto: num_heads");
    schema.field("head_dim", self.head_dim, within(1, kMaxWidth),
                 "head width; auto: hidden_size / num_heads, which must divide");
    schema.field("intermediate_size", self.intermediate_size, within(1, kMaxWidth),
                 "hidden width of MLP and experts; auto: 8/3 hidden_size rounded up to 64");
    schema.field("tie_embeddings", self.tie_embeddings, any(), "head and embedding are one tensor");
    schema.field("norm", self.norm, any(), "RMSNorm (arXiv:1910.07467)");
    schema.field("attention", self.attention, any(), "all attention layers");
    schema.field("mlp", self.mlp, any(), "all dense feed-forward parts");
    schema.field("rope", self.rope, any(), "rotary position embedding (arXiv:2104.09864)");
    schema.field("init", self.init, any(), "initial values");
    schema.field("moe", self.moe, any(), "mixture of experts");
    schema.field("mamba", self.mamba, any(), "Mamba-1 mixers (arXiv:2312.00752)");
    schema.when(self.family == Family::kJamba, "family: jamba", [&] {
      schema.field("layout", self.layout, any(),
                   "which layers are attention and which have experts");
    });
  }
};

// Replaces every `auto` by its value. REQUIRES: vocab_size is set.
void resolve(ModelRecipe& recipe);

// Checks that need more than one field; works on a resolved recipe.
void validate(const ModelRecipe& recipe, Problems& problems);

// The list of layers. REQUIRES: resolved and without problems.
ModelConfig build_config(const ModelRecipe& recipe);

// The same model with its layers written out (family: layers): what a checkpoint stores. REQUIRES:
// as build_config.
ModelRecipe explicit_recipe(const ModelRecipe& recipe);

}  // namespace weft
