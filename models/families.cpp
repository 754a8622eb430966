#include "models/families.h"

#include <algorithm>
#include <cmath>

#include "models/layerwise.h"

namespace weft {
namespace {

template <class T, class Word>
void fill(OrWord<T, Word>& field, T value) {
  if (!field.has_value()) field.value = value;
}

void resolve_layer(const ModelRecipe& model, LayerRecipe& layer) {
  MixerRecipe& mixer = layer.mixer;
  if (mixer.kind == MixerKind::kAttention) {
    fill(mixer.attention.num_heads, *model.num_heads);
    fill(mixer.attention.num_kv_heads, std::min(*model.num_kv_heads, *mixer.attention.num_heads));
    if (model.head_dim.has_value()) fill(mixer.attention.head_dim, *model.head_dim);
    fill(mixer.attention.sliding_window, model.attention.sliding_window);
    fill(mixer.attention.bias, *model.attention.bias);
  } else if (mixer.kind == MixerKind::kMamba) {
    fill(mixer.state_size, model.mamba.state_size);
    fill(mixer.conv_kernel, model.mamba.conv_kernel);
    fill(mixer.expand, model.mamba.expand);
    fill(mixer.dt_rank, *model.mamba.dt_rank);
    fill(mixer.inner_norms, *model.mamba.inner_norms);
  } else {
    fill(mixer.state_size, model.mamba2.state_size);
    fill(mixer.conv_kernel, model.mamba2.conv_kernel);
    fill(mixer.expand, model.mamba2.expand);
  }
  FeedForwardRecipe& feed_forward = layer.feed_forward;
  if (feed_forward.kind == FeedForwardKind::kNone) return;
  fill(feed_forward.intermediate_size, *model.intermediate_size);
  if (feed_forward.kind != FeedForwardKind::kMoe) return;
  fill(feed_forward.num_experts, model.moe.num_experts);
  fill(feed_forward.top_k, model.moe.top_k);
  fill(feed_forward.renormalize, *model.moe.renormalize);
}

FeedForwardKind feed_forward_of(char letter) {
  if (letter == 'N') return FeedForwardKind::kNone;
  return letter == 'E' ? FeedForwardKind::kMoe : FeedForwardKind::kMlp;
}

MixerKind mixer_of(char letter) {
  if (letter == 'M') return MixerKind::kMamba;
  return letter == 'S' ? MixerKind::kMamba2 : MixerKind::kAttention;
}

// What the periods make of layer `i`, as a letter of a pattern.
char period_letter(const LayoutRecipe& layout, int64_t i) {
  if (i % layout.attention_period == *layout.attention_offset) return 'A';
  if (layout.window_period > 0 && i % layout.window_period == *layout.window_offset) return 'W';
  if (layout.mixer == MixerKind::kMamba) return 'M';
  return layout.mixer == MixerKind::kMamba2 ? 'S' : 'A';
}

// Mixer and feed-forward part of layer `i` of a jamba or hybrid.
void lay_out(const ModelRecipe& model, int64_t i, LayerRecipe& layer) {
  const LayoutRecipe& layout = model.layout;
  const auto letter = [i](const std::string& pattern) { return pattern[i % pattern.size()]; };
  const char kind = layout.pattern.empty() ? period_letter(layout, i) : letter(layout.pattern);
  layer.mixer.kind = mixer_of(kind);
  if (model.family == Family::kHybrid && kind == 'A') layer.mixer.attention.sliding_window = 0;
  if (!layout.feed_forward.empty()) {
    layer.feed_forward.kind = feed_forward_of(letter(layout.feed_forward));
    return;
  }
  const bool moe = model.moe.num_experts > 1 && *layout.moe_period > 0 &&
                   i % *layout.moe_period == *layout.moe_offset;
  layer.feed_forward.kind = moe ? FeedForwardKind::kMoe : FeedForwardKind::kMlp;
}

void scale_layer(const ModelRecipe& model, int64_t i, LayerRecipe& layer) {
  const LayerwiseRecipe& layerwise = model.layerwise;
  if (layer.mixer.kind == MixerKind::kAttention && !layerwise.qkv.empty()) {
    const int64_t group = *layerwise.gqa_group;
    const int64_t heads = layerwise_heads({model.hidden_size, *model.head_dim, group},
                                          layerwise.qkv, i, model.num_layers);
    layer.mixer.attention.num_heads = heads;
    layer.mixer.attention.num_kv_heads = heads / group;
  }
  if (layer.feed_forward.kind != FeedForwardKind::kNone && !layerwise.ffn.empty()) {
    const double multiplier = layerwise_value(layerwise.ffn, i, model.num_layers);
    layer.feed_forward.intermediate_size =
        make_divisible(multiplier * static_cast<double>(model.hidden_size), layerwise.ffn_divisor);
  }
}

// Layer `i` of a family.
LayerRecipe family_layer(const ModelRecipe& model, int64_t i) {
  LayerRecipe layer;  // attention and an MLP
  switch (model.family) {
    case Family::kJamba:
    case Family::kHybrid:
      lay_out(model, i, layer);
      break;
    case Family::kMamba:
    case Family::kMamba2:
      layer.mixer.kind = model.family == Family::kMamba ? MixerKind::kMamba : MixerKind::kMamba2;
      layer.feed_forward.kind = FeedForwardKind::kNone;
      break;
    case Family::kMixtral:
      layer.feed_forward.kind = FeedForwardKind::kMoe;
      break;
    case Family::kLayers:
    case Family::kLlama:
    case Family::kGpt2:
    case Family::kOpenElm:
      break;
  }
  scale_layer(model, i, layer);
  resolve_layer(model, layer);
  return layer;
}

RopeConfig build_rope(const RopeRecipe& r) {
  return {.type = *r.type,
          .theta = r.theta,
          .factor = r.factor,
          .original_max_position = *r.original_max_position,
          .low_freq_factor = r.low_freq_factor,
          .high_freq_factor = r.high_freq_factor,
          .beta_fast = r.beta_fast,
          .beta_slow = r.beta_slow,
          .truncate = r.truncate,
          .attention_factor = *r.type == RopeType::kYarn ? *r.attention_factor : 1.0};
}

MixerConfig build_mixer(const ModelRecipe& model, const MixerRecipe& mixer) {
  if (mixer.kind == MixerKind::kAttention) {
    return AttentionConfig{.num_heads = *mixer.attention.num_heads,
                           .num_kv_heads = *mixer.attention.num_kv_heads,
                           .head_dim = *mixer.attention.head_dim,
                           .bias = *mixer.attention.bias,
                           .qk_norm = *model.attention.qk_norm,
                           .sliding_window = *mixer.attention.sliding_window,
                           .rope = build_rope(model.rope)};
  }
  const int64_t inner = *mixer.expand * model.hidden_size;
  if (mixer.kind == MixerKind::kMamba) {
    return MambaConfig{.inner_size = inner,
                       .state_size = *mixer.state_size,
                       .conv_kernel = *mixer.conv_kernel,
                       .dt_rank = *mixer.dt_rank,
                       .conv_bias = model.mamba.conv_bias,
                       .proj_bias = model.mamba.proj_bias,
                       .inner_norms = *mixer.inner_norms,
                       .dt = model.mamba.dt};
  }
  const Mamba2Recipe& m = model.mamba2;
  Mamba2Config config{.num_heads = inner / m.head_dim,
                      .head_dim = m.head_dim,
                      .state_size = *mixer.state_size,
                      .num_groups = m.num_groups,
                      .conv_kernel = *mixer.conv_kernel,
                      .chunk_size = m.chunk_size,
                      .conv_bias = m.conv_bias,
                      .proj_bias = m.proj_bias,
                      .norm_before_gate = m.norm_before_gate,
                      .dt_limit_low = m.dt_limit_low,
                      .dt = m.dt};
  if (m.dt_limit_high.has_value()) config.dt_limit_high = *m.dt_limit_high;
  return config;
}

FeedForwardConfig build_feed_forward(const ModelRecipe& model, const FeedForwardRecipe& part) {
  switch (part.kind) {
    case FeedForwardKind::kNone:
      return std::monostate{};
    case FeedForwardKind::kMlp:
      return MlpConfig{.intermediate_size = *part.intermediate_size,
                       .gated = *model.mlp.gated,
                       .activation = *model.mlp.activation,
                       .bias = *model.mlp.bias};
    case FeedForwardKind::kMoe:
      break;
  }
  return MoeConfig{.num_experts = *part.num_experts,
                   .top_k = *part.top_k,
                   .intermediate_size = *part.intermediate_size,
                   .renormalize = *part.renormalize,
                   .aux_form = model.moe.aux,
                   .aux_coef = model.moe.aux_coef,
                   .z_coef = model.moe.z_coef};
}

void resolve_layerwise(ModelRecipe& recipe) {
  LayerwiseRecipe& layerwise = recipe.layerwise;
  const bool openelm = recipe.family == Family::kOpenElm;
  if (openelm && layerwise.qkv.empty()) layerwise.qkv = {0.5, 1.0};
  if (openelm && layerwise.ffn.empty()) layerwise.ffn = {0.5, 4.0};
  const int64_t kv_heads = std::max<int64_t>(1, *recipe.num_kv_heads);
  fill(layerwise.gqa_group, openelm ? 4 : std::max<int64_t>(1, *recipe.num_heads / kv_heads));
}

void resolve_widths(ModelRecipe& recipe) {
  const int64_t d = recipe.hidden_size;
  const bool openelm = recipe.family == Family::kOpenElm;
  if (openelm) fill<int64_t>(recipe.head_dim, 64);
  int64_t heads = std::max<int64_t>(1, d / recipe.head_dim.value_or(64));
  while (d % heads != 0) --heads;
  fill(recipe.num_heads, heads);
  fill(recipe.num_kv_heads, *recipe.num_heads);
  if (d % *recipe.num_heads == 0) fill(recipe.head_dim, d / *recipe.num_heads);
  fill(recipe.intermediate_size,
       recipe.family == Family::kGpt2 ? 4 * d : ((8 * d + 2) / 3 + 63) / 64 * 64);
  fill<int64_t>(recipe.max_position, 2048);
  fill(recipe.mamba.dt_rank, (d + 15) / 16);
}

double family_eps(Family family) {
  const bool small = family == Family::kJamba || family == Family::kOpenElm ||
                     family == Family::kLayers || family == Family::kHybrid;
  return small ? 1e-6 : 1e-5;
}

InitScheme family_scheme(Family family) {
  if (family == Family::kOpenElm) return InitScheme::kOpenElm;
  const bool mamba = family == Family::kMamba || family == Family::kMamba2;
  return mamba ? InitScheme::kMamba : InitScheme::kNormal;
}

void resolve_rope(ModelRecipe& recipe, RopeType type) {
  RopeRecipe& rope = recipe.rope;
  fill(rope.type, type);
  fill(rope.original_max_position, *recipe.max_position);
  fill(rope.attention_factor, rope.factor > 1 ? 0.1 * std::log(rope.factor) + 1.0 : 1.0);
}

}  // namespace

void resolve(ModelRecipe& recipe) {
  const Family family = recipe.family;
  const bool gpt2 = family == Family::kGpt2, openelm = family == Family::kOpenElm;
  const bool jamba = family == Family::kJamba;
  const bool mamba = family == Family::kMamba || family == Family::kMamba2;
  resolve_widths(recipe);
  fill(recipe.tie_embeddings, gpt2 || openelm || mamba);
  fill(recipe.learned_positions, gpt2);
  fill(recipe.residual_fp32, mamba);
  fill(recipe.norm.type, gpt2 ? NormType::kLayer : NormType::kRms);
  fill(recipe.norm.eps, family_eps(family));
  fill(recipe.attention.bias, gpt2);
  fill(recipe.attention.qk_norm, openelm);
  fill(recipe.mlp.bias, gpt2);
  fill(recipe.mlp.gated, !gpt2);
  fill(recipe.mlp.activation, gpt2 ? Activation::kGeluNew : Activation::kSilu);
  resolve_rope(recipe, jamba || gpt2 || mamba ? RopeType::kNone : RopeType::kDefault);
  fill(recipe.init.scheme, family_scheme(family));
  fill(recipe.init.std, *recipe.init.scheme == InitScheme::kHfMamba ? 0.1 : 0.02);
  fill(recipe.init.depth_scaled, gpt2);
  fill(recipe.moe.renormalize, family == Family::kMixtral);
  fill(recipe.mamba.inner_norms, jamba);
  fill(recipe.layout.attention_offset, recipe.layout.attention_period / 2);
  fill(recipe.layout.window_offset, std::max<int64_t>(0, recipe.layout.window_period - 1));
  fill<int64_t>(recipe.layout.moe_period, jamba ? 2 : 0);
  fill(recipe.layout.moe_offset, std::max<int64_t>(0, *recipe.layout.moe_period - 1));
  resolve_layerwise(recipe);
  for (LayerRecipe& layer : recipe.layers) resolve_layer(recipe, layer);
}

ModelConfig build_config(const ModelRecipe& recipe) {
  ModelConfig config{.vocab_size = *recipe.vocab_size,
                     .hidden_size = recipe.hidden_size,
                     .learned_positions = *recipe.learned_positions ? *recipe.max_position : 0,
                     .padding_id = recipe.pad_token_id.value_or(-1),
                     .norm = {*recipe.norm.type, *recipe.norm.eps},
                     .tie_embeddings = *recipe.tie_embeddings,
                     .residual_fp32 = *recipe.residual_fp32,
                     .init = {*recipe.init.scheme, *recipe.init.std, *recipe.init.depth_scaled},
                     .layers = {}};
  const auto append = [&](const LayerRecipe& layer) {
    const LayerConfig built{build_mixer(recipe, layer.mixer),
                            build_feed_forward(recipe, layer.feed_forward)};
    config.layers.insert(config.layers.end(), layer.repeat, built);
  };
  if (recipe.family == Family::kLayers) {
    for (const LayerRecipe& layer : recipe.layers) append(layer);
    return config;
  }
  for (int64_t i = 0; i < recipe.num_layers; ++i) append(family_layer(recipe, i));
  return config;
}

ModelRecipe explicit_recipe(const ModelRecipe& recipe) {
  ModelRecipe written = recipe;
  if (recipe.family == Family::kLayers) return written;
  written.family = Family::kLayers;
  for (int64_t i = 0; i < recipe.num_layers; ++i) {
    written.layers.push_back(family_layer(recipe, i));
  }
  return written;
}

}  // namespace weft
