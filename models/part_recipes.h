#pragma once
// The parts of `model:` of a recipe that say something of all layers (model_recipe.h).
#include <limits>
#include <string>
#include <vector>

#include "base/schema.h"
#include "models/layer_recipe.h"

namespace weft {

constexpr auto enum_names(RopeType) {
  return std::array{
      EnumName{RopeType::kNone, "none"},       EnumName{RopeType::kDefault, "default"},
      EnumName{RopeType::kLinear, "linear"},   EnumName{RopeType::kNtk, "ntk"},
      EnumName{RopeType::kDynamic, "dynamic"}, EnumName{RopeType::kLlama3, "llama3"},
      EnumName{RopeType::kYarn, "yarn"}};
}
constexpr auto enum_names(NormType) {
  return std::array{EnumName{NormType::kRms, "rms"}, EnumName{NormType::kLayer, "layer"}};
}
constexpr auto enum_names(Activation) {
  return std::array{EnumName{Activation::kSilu, "silu"},
                    EnumName{Activation::kGeluNew, "gelu_new"}};
}
constexpr auto enum_names(AuxForm) {
  return std::array{EnumName{AuxForm::kSwitch, "switch"}, EnumName{AuxForm::kHf, "hf"}};
}
constexpr auto enum_names(InitScheme) {
  return std::array{
      EnumName{InitScheme::kNormal, "normal"}, EnumName{InitScheme::kOpenElm, "openelm"},
      EnumName{InitScheme::kMamba, "mamba"}, EnumName{InitScheme::kHfMamba, "hf_mamba"},
      EnumName{InitScheme::kHfJamba, "hf_jamba"}};
}

struct NormRecipe {
  Auto<NormType> type;
  Auto<double> eps;
  static void describe(auto& self, auto& schema) {
    schema.field("type", self.type, any(),
                 "rms (arXiv:1910.07467) or layer (arXiv:1607.06450); auto: layer for gpt2");
    schema.field("eps", self.eps, within(0, 1),
                 "added to the mean square or the variance; auto: the family's");
  }
};

struct AttentionDefaults {
  Auto<bool> bias, qk_norm;
  int64_t sliding_window = 0;
  static void describe(auto& self, auto& schema) {
    schema.field("bias", self.bias, any(), "bias on q, k, v and o; auto: true for gpt2");
    schema.field("qk_norm", self.qk_norm, any(),
                 "RMSNorm of every head's q and k before the rotation; auto: true for openelm");
    schema.field("sliding_window", self.sliding_window, within(0, 1 << 30),
                 "tokens that a token sees, itself among them; 0: all. In a hybrid only the layers "
                 "that layout names have it: W of the pattern, or by window_period");
  }
};

struct MlpDefaults {
  Auto<bool> bias, gated;
  Auto<Activation> activation;
  static void describe(auto& self, auto& schema) {
    schema.field("bias", self.bias, any(), "bias on gate, up and down; auto: true for gpt2");
    schema.field("gated", self.gated, any(),
                 "down(act(gate(x)) * up(x)) instead of down(act(up(x))); auto: false for gpt2");
    schema.field("activation", self.activation, any(), "auto: gelu_new for gpt2, else silu");
  }
};

struct RopeRecipe {
  Auto<RopeType> type;
  double theta = 10000.0;
  double factor = 1.0;
  Auto<int64_t> original_max_position;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;
  double beta_fast = 32.0, beta_slow = 1.0;
  bool truncate = true;
  Auto<double> attention_factor;
  static void describe(auto& self, auto& schema) {
    schema.field("type", self.type, any(),
                 "rotary positions and how they are scaled to longer contexts (linear; ntk and "
                 "dynamic: a larger base; llama3; yarn, arXiv:2309.00071); auto: none for jamba, "
                 "gpt2, mamba and mamba2, else default");
    const RopeType type = self.type.value_or(RopeType::kNone);
    const bool yarn = type == RopeType::kYarn, llama3 = type == RopeType::kLlama3;
    const bool dynamic = type == RopeType::kDynamic;
    schema.field("theta", self.theta, above(1), "base of the rotary frequencies");
    schema.when(yarn || llama3 || dynamic || type == RopeType::kLinear || type == RopeType::kNtk,
                "a scaled type", [&] {
                  schema.field("factor", self.factor, within(1, 1e6),
                               "how many times longer the context becomes");
                });
    schema.when(yarn || llama3 || dynamic, "type: dynamic, llama3 or yarn", [&] {
      schema.field("original_max_position", self.original_max_position, within(1, 1 << 30),
                   "context that the model was first trained for; auto: model.max_position");
    });
    schema.when(llama3, "type: llama3", [&] {
      schema.field("low_freq_factor", self.low_freq_factor, within(1e-6, 1e6),
                   "wavelengths over original_max_position / this are divided by factor");
      schema.field("high_freq_factor", self.high_freq_factor, within(1e-6, 1e6),
                   "wavelengths under original_max_position / this stay as they are");
    });
    schema.when(yarn, "type: yarn", [&] {
      schema.field("beta_fast", self.beta_fast, within(1e-6, 1e6),
                   "channels with more turns within the original context stay as they are");
      schema.field("beta_slow", self.beta_slow, within(1e-6, 1e6),
                   "channels with fewer turns are divided by factor");
      schema.field("truncate", self.truncate, any(), "round the bounds to whole channels");
      schema.field("attention_factor", self.attention_factor, within(1e-6, 1e6),
                   "scales cosines and sines; auto: 0.1 ln(factor) + 1");
    });
  }
};

struct InitRecipe {
  Auto<InitScheme> scheme;
  Auto<double> std;
  Auto<bool> depth_scaled;
  static void describe(auto& self, auto& schema) {
    schema.field("scheme", self.scheme, any(),
                 "normal: deviation std; openelm: by width; mamba: the original code's uniform "
                 "values; hf_mamba, hf_jamba: those of transformers; auto: the family's original");
    schema.field(
        "std", self.std, within(0, 10),
        "standard deviation of linear layers and embedding; auto: 0.02, or 0.1 with hf_mamba");
    schema.field("depth_scaled", self.depth_scaled, any(),
                 "divide it by sqrt(2 num_layers) for projections back into the residual stream; "
                 "auto: true for gpt2");
  }
};

struct MoeRecipe {
  int64_t num_experts = 8;
  int64_t top_k = 2;
  Auto<bool> renormalize;
  AuxForm aux = AuxForm::kSwitch;
  double aux_coef = 1e-3;
  double z_coef = 0.0;
  static void describe(auto& self, auto& schema) {
    schema.field("num_experts", self.num_experts, within(1, 65536), "experts of a layer");
    schema.field("top_k", self.top_k, within(1, 65536), "experts that a token uses");
    schema.field("renormalize", self.renormalize, any(),
                 "divide the top_k probabilities by their sum; auto: true for mixtral");
    schema.field("aux", self.aux, any(),
                 "load-balancing loss. switch: per layer and sequence (arXiv:2101.03961), 1 when "
                 "balanced; hf: over all layers and tokens of a forward pass together, top_k when "
                 "balanced");
    schema.field("aux_coef", self.aux_coef, within(0, 100), "weight of the load-balancing loss");
    schema.field("z_coef", self.z_coef, within(0, 100),
                 "weight of the router z-loss (arXiv:2202.08906)");
  }
};

// Initial step sizes of Mamba-1 and Mamba-2.
void describe_step_sizes(auto& dt, auto& schema) {
  schema.field("dt_min", dt.min, within(1e-12, 1e6), "smallest initial step size");
  schema.field("dt_max", dt.max, within(1e-12, 1e6), "largest initial step size");
  schema.field("dt_floor", dt.floor, within(1e-12, 1e6), "lower clamp of initial step sizes");
}

struct MambaRecipe {
  int64_t state_size = 16;
  int64_t conv_kernel = 4;
  int64_t expand = 2;
  Auto<int64_t> dt_rank;
  bool conv_bias = true;
  bool proj_bias = false;
  Auto<bool> inner_norms;
  StepSizeInit dt;
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
    describe_step_sizes(self.dt, schema);
    schema.field("dt_scale", self.dt.scale, within(1e-12, 1e6),
                 "scale of the initial dt projection");
  }
};

struct Mamba2Recipe {
  int64_t state_size = 128;
  int64_t conv_kernel = 4;
  int64_t expand = 2;
  int64_t head_dim = 64;
  int64_t num_groups = 1;
  int64_t chunk_size = 256;
  bool conv_bias = true;
  bool proj_bias = false;
  bool norm_before_gate = false;
  double dt_limit_low = 0.0;
  OrNone<double> dt_limit_high;
  StepSizeInit dt;
  static void describe(auto& self, auto& schema) {
    schema.field("state_size", self.state_size, within(1, 4096), "state values of a channel (N)");
    schema.field("conv_kernel", self.conv_kernel, within(1, 64),
                 "taps of the causal convolution (K)");
    schema.field("expand", self.expand, within(1, 64), "inner width / hidden_size");
    schema.field("head_dim", self.head_dim, within(1, kMaxWidth),
                 "channels of a head; divides the inner width");
    schema.field("num_groups", self.num_groups, within(1, 65536),
                 "groups of heads with B and C of their own; divides the number of heads");
    schema.field("chunk_size", self.chunk_size, within(1, 1 << 16),
                 "tokens of a chunk: speed and memory, never results");
    schema.field("conv_bias", self.conv_bias, any(), "bias of the convolution");
    schema.field("proj_bias", self.proj_bias, any(), "biases of the input and output projections");
    schema.field("norm_before_gate", self.norm_before_gate, any(),
                 "normalise before the gate multiplies (no published model does)");
    schema.field("dt_limit_low", self.dt_limit_low, within(0, 1e6), "smallest step size");
    schema.field("dt_limit_high", self.dt_limit_high, within(0, 1e6), "largest step size");
    describe_step_sizes(self.dt, schema);
  }
};

struct LayoutRecipe {
  std::string pattern, feed_forward;
  MixerKind mixer = MixerKind::kMamba;
  int64_t attention_period = 8, window_period = 0;
  Auto<int64_t> attention_offset, window_offset, moe_period, moe_offset;
  static void describe(auto& self, auto& schema) {
    schema.field("pattern", self.pattern, any(),
                 "hybrid: a letter a layer, repeated to num_layers: A attention, W attention with "
                 "the sliding window, M Mamba-1, S Mamba-2; empty: by attention_period");
    schema.field("feed_forward", self.feed_forward, any(),
                 "hybrid: a letter a layer, repeated to num_layers: D dense, E experts, N none; "
                 "empty: by moe_period");
    schema.field("mixer", self.mixer, any(),
                 "hybrid without pattern: layers that neither period makes attention");
    schema.field(
        "attention_period", self.attention_period, within(1, kMaxLayers),
        "layer i is attention if i mod attention_period = attention_offset, else Mamba, or "
        "in a hybrid what window_period and mixer say");
    schema.field("attention_offset", self.attention_offset, within(0, kMaxLayers),
                 "see attention_period; auto: half of it");
    schema.field("window_period", self.window_period, within(0, kMaxLayers),
                 "hybrid without pattern: a layer i that attention_period does not make attention "
                 "is attention with model.attention.sliding_window if i mod window_period = "
                 "window_offset; 0: none");
    schema.when(self.window_period > 0, "window_period", [&] {
      schema.field("window_offset", self.window_offset, within(0, kMaxLayers),
                   "see window_period; auto: the last of the period");
    });
    schema.field("moe_period", self.moe_period, within(0, kMaxLayers),
                 "layer i has experts if i mod moe_period = moe_offset, else a dense MLP; 0: no "
                 "experts; auto: 2 for jamba, 0 for hybrid");
    schema.field("moe_offset", self.moe_offset, within(0, kMaxLayers),
                 "see moe_period; auto: the last of the period");
  }
};

struct LayerwiseRecipe {
  std::vector<double> qkv, ffn;
  Auto<int64_t> gqa_group;
  int64_t ffn_divisor = 256;
  static void describe(auto& self, auto& schema) {
    schema.field("qkv", self.qkv, within(1e-3, 1e3),
                 "width of all query heads / hidden_size: one value, first and last, or a value a "
                 "layer; []: model.num_heads everywhere ([0.5, 1] for openelm)");
    schema.field(
        "ffn", self.ffn, within(1e-3, 1e3),
        "intermediate_size / hidden_size, likewise; []: model.intermediate_size everywhere "
        "([0.5, 4] for openelm)");
    schema.field("gqa_group", self.gqa_group, within(1, kMaxWidth),
                 "query heads of a key/value head; auto: num_heads / num_kv_heads, 4 for openelm");
    schema.field("ffn_divisor", self.ffn_divisor, within(1, kMaxWidth),
                 "feed-forward widths are multiples of this");
  }
};

}  // namespace weft
