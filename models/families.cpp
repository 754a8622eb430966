#include "models/families.h"

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

template <class T>
void fill(Auto<T>& field, T value) {
  if (!field.has_value()) field.value = value;
}

void resolve_layer(const ModelRecipe& model, LayerRecipe& layer) {
  MixerRecipe& mixer = layer.mixer;
  if (mixer.kind == MixerKind::kAttention) {
    fill(mixer.attention.num_heads, *model.num_heads);
    fill(mixer.attention.num_kv_heads, std::min(*model.num_kv_heads, *mixer.attention.num_heads));
    if (model.head_dim.has_value()) fill(mixer.attention.head_dim, *model.head_dim);
    fill(mixer.attention.bias, model.attention.bias);
  } else {
    fill(mixer.state_size, model.mamba.state_size);
    fill(mixer.conv_kernel, model.mamba.conv_kernel);
    fill(mixer.expand, model.mamba.expand);
    fill(mixer.dt_rank, *model.mamba.dt_rank);
    fill(mixer.inner_norms, *model.mamba.inner_norms);
  }
  FeedForwardRecipe& feed_forward = layer.feed_forward;
  if (feed_forward.kind == FeedForwardKind::kNone) return;
  fill(feed_forward.intermediate_size, *model.intermediate_size);
  if (feed_forward.kind != FeedForwardKind::kMoe) return;
  fill(feed_forward.num_experts, model.moe.num_experts);
  fill(feed_forward.top_k, model.moe.top_k);
  fill(feed_forward.renormalize, model.moe.renormalize);
}

// The recipe of layer `i` of a family, still with `auto`s.
LayerRecipe family_layer(const ModelRecipe& model, int64_t i) {
  LayerRecipe layer;
  if (model.family == Family::kLlama) return layer;  // attention and an MLP everywhere
  const LayoutRecipe& layout = model.layout;
  const bool attention = i % layout.attention_period == layout.attention_offset;
  const bool moe = model.moe.num_experts > 1 && i % layout.moe_period == layout.moe_offset;
  layer.mixer.kind = attention ? MixerKind::kAttention : MixerKind::kMamba;
  layer.feed_forward.kind = moe ? FeedForwardKind::kMoe : FeedForwardKind::kMlp;
  return layer;
}

void check_attention(const AttentionRecipe& a, bool rope, Problems& problems) {
  if (*a.num_heads % *a.num_kv_heads != 0) {
    problems.add("num_kv_heads", absl::StrCat("is ", *a.num_kv_heads, ", must divide num_heads (",
                                              *a.num_heads, ")"));
  }
  if (rope && a.head_dim.has_value() && *a.head_dim % 2 != 0) {
    problems.add("head_dim",
                 absl::StrCat("is ", *a.head_dim, ", must be even for rotary positions"));
  }
}

void check_top_k(int64_t top_k, int64_t num_experts, Problems& problems) {
  if (top_k > num_experts) {
    problems.add("top_k",
                 absl::StrCat("is ", top_k, ", must be at most num_experts (", num_experts, ")"));
  }
}

void check_layout(const ModelRecipe& recipe, Problems& problems) {
  const LayoutRecipe& layout = recipe.layout;
  const auto scope = problems.enter("layout");
  if (layout.attention_offset >= layout.attention_period) {
    problems.add("attention_offset",
                 absl::StrCat("is ", layout.attention_offset, ", must be below attention_period (",
                              layout.attention_period, ")"));
  }
  if (layout.moe_offset >= layout.moe_period) {
    problems.add("moe_offset",
                 absl::StrCat("is ", layout.moe_offset, ", must be below moe_period (",
                              layout.moe_period, ")"));
  }
}

void check_layers(const ModelRecipe& recipe, bool rope, Problems& problems) {
  int64_t total = 0;
  for (size_t i = 0; i < recipe.layers.size(); ++i) {
    const LayerRecipe& layer = recipe.layers[i];
    const auto scope = problems.enter("layers", i);
    total += layer.repeat;
    if (layer.mixer.kind == MixerKind::kAttention) {
      const auto inner = problems.enter("mixer");
      check_attention(layer.mixer.attention, rope, problems);
    }
    if (layer.feed_forward.kind == FeedForwardKind::kMoe) {
      const auto inner = problems.enter("feed_forward");
      check_top_k(*layer.feed_forward.top_k, *layer.feed_forward.num_experts, problems);
    }
  }
  if (total > kMaxLayers) {
    problems.add("layers", absl::StrCat("has ", total, " layers, must have at most ", kMaxLayers));
  }
}

MixerConfig build_mixer(const ModelRecipe& model, const MixerRecipe& mixer) {
  if (mixer.kind == MixerKind::kAttention) {
    return AttentionConfig{.num_heads = *mixer.attention.num_heads,
                           .num_kv_heads = *mixer.attention.num_kv_heads,
                           .head_dim = *mixer.attention.head_dim,
                           .bias = *mixer.attention.bias,
                           .rope = {*model.rope.type, model.rope.theta}};
  }
  return MambaConfig{.inner_size = *mixer.expand * model.hidden_size,
                     .state_size = *mixer.state_size,
                     .conv_kernel = *mixer.conv_kernel,
                     .dt_rank = *mixer.dt_rank,
                     .conv_bias = model.mamba.conv_bias,
                     .proj_bias = model.mamba.proj_bias,
                     .inner_norms = *mixer.inner_norms,
                     .dt_min = model.mamba.dt_min,
                     .dt_max = model.mamba.dt_max,
                     .dt_floor = model.mamba.dt_floor,
                     .dt_scale = model.mamba.dt_scale};
}

FeedForwardConfig build_feed_forward(const ModelRecipe& model, const FeedForwardRecipe& part) {
  switch (part.kind) {
    case FeedForwardKind::kNone:
      return std::monostate{};
    case FeedForwardKind::kMlp:
      return MlpConfig{.intermediate_size = *part.intermediate_size, .bias = model.mlp.bias};
    case FeedForwardKind::kMoe:
      break;
  }
  return MoeConfig{.num_experts = *part.num_experts,
                   .top_k = *part.top_k,
                   .intermediate_size = *part.intermediate_size,
                   .renormalize = *part.renormalize,
                   .aux_coef = model.moe.aux_coef,
                   .z_coef = model.moe.z_coef};
}

}  // namespace

void resolve(ModelRecipe& recipe) {
  const int64_t d = recipe.hidden_size;
  int64_t heads = std::max<int64_t>(1, d / 64);
  while (d % heads != 0) --heads;
  fill(recipe.num_heads, heads);
  fill(recipe.num_kv_heads, *recipe.num_heads);
  if (d % *recipe.num_heads == 0) fill(recipe.head_dim, d / *recipe.num_heads);
  fill(recipe.intermediate_size, ((8 * d + 2) / 3 + 63) / 64 * 64);
  fill(recipe.norm.eps, recipe.family == Family::kLlama ? 1e-5 : 1e-6);
  const bool jamba = recipe.family == Family::kJamba;
  fill(recipe.rope.type, jamba ? RopeType::kNone : RopeType::kDefault);
  fill(recipe.mamba.dt_rank, (d + 15) / 16);
  fill(recipe.mamba.inner_norms, jamba);
  for (LayerRecipe& layer : recipe.layers) resolve_layer(recipe, layer);
}

void validate(const ModelRecipe& recipe, Problems& problems) {
  const bool rope = *recipe.rope.type != RopeType::kNone;
  if (!recipe.head_dim.has_value()) {
    problems.add("num_heads", absl::StrCat("is ", *recipe.num_heads, ", must divide hidden_size (",
                                           recipe.hidden_size, ") unless head_dim is given"));
  }
  check_attention({recipe.num_heads, recipe.num_kv_heads, recipe.head_dim, {}}, rope, problems);
  {
    const auto scope = problems.enter("moe");
    check_top_k(recipe.moe.top_k, recipe.moe.num_experts, problems);
  }
  if (recipe.mamba.dt_min > recipe.mamba.dt_max) {
    problems.add("mamba.dt_min",
                 absl::StrCat("is ", recipe.mamba.dt_min, ", must be at most dt_max (",
                              recipe.mamba.dt_max, ")"));
  }
  if (recipe.family == Family::kJamba) check_layout(recipe, problems);
  if (recipe.family == Family::kLayers) check_layers(recipe, rope, problems);
}

ModelConfig build_config(const ModelRecipe& recipe) {
  ModelConfig config{.vocab_size = *recipe.vocab_size,
                     .hidden_size = recipe.hidden_size,
                     .norm_eps = *recipe.norm.eps,
                     .tie_embeddings = recipe.tie_embeddings,
                     .init = {recipe.init.std, recipe.init.depth_scaled},
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
  for (int64_t i = 0; i < recipe.num_layers; ++i) {
    LayerRecipe layer = family_layer(recipe, i);
    resolve_layer(recipe, layer);
    append(layer);
  }
  return config;
}

ModelRecipe explicit_recipe(const ModelRecipe& recipe) {
  ModelRecipe written = recipe;
  if (recipe.family == Family::kLayers) return written;
  written.family = Family::kLayers;
  for (int64_t i = 0; i < recipe.num_layers; ++i) {
    written.layers.push_back(family_layer(recipe, i));
    resolve_layer(recipe, written.layers.back());
  }
  return written;
}

}  // namespace weft
