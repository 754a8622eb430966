// Checks between the fields of `model:` (families.h): validate.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "models/families.h"
#include "models/layerwise.h"

namespace weft {
namespace {

void check_attention(const AttentionRecipe& a, const RopeRecipe& rope, Problems& problems) {
  if (*a.num_heads % *a.num_kv_heads != 0) {
    problems.add("num_kv_heads", absl::StrCat("is ", *a.num_kv_heads, ", must divide num_heads (",
                                              *a.num_heads, ")"));
  }
  if (*rope.type != RopeType::kNone && a.head_dim.has_value() && *a.head_dim % 2 != 0) {
    problems.add("head_dim",
                 absl::StrCat("is ", *a.head_dim, ", must be even for rotary positions"));
  }
  if (*rope.type == RopeType::kDynamic && a.sliding_window.value_or(0) > 0) {
    problems.add("sliding_window",
                 absl::StrCat("is ", *a.sliding_window, ", must be 0 with rope.type dynamic"));
  }
}

void check_rope(const ModelRecipe& recipe, Problems& problems) {
  const RopeRecipe& rope = recipe.rope;
  if (*rope.type == RopeType::kLlama3 && rope.low_freq_factor >= rope.high_freq_factor) {
    problems.add("rope.low_freq_factor",
                 absl::StrCat("is ", rope.low_freq_factor, ", must be below high_freq_factor (",
                              rope.high_freq_factor, ")"));
  }
  const bool stretched = *rope.type == RopeType::kNtk || *rope.type == RopeType::kDynamic;
  if (stretched && recipe.head_dim.has_value() && *recipe.head_dim <= 2) {
    problems.add("head_dim",
                 absl::StrCat("is ", *recipe.head_dim, ", must be above 2 with rope.type ",
                              name_of(*rope.type)));
  }
}

void check_top_k(int64_t top_k, int64_t num_experts, Problems& problems) {
  if (top_k > num_experts) {
    problems.add("top_k",
                 absl::StrCat("is ", top_k, ", must be at most num_experts (", num_experts, ")"));
  }
}

void check_pattern(const char* key, const std::string& pattern, const char* letters,
                   Problems& problems) {
  const size_t wrong = pattern.find_first_not_of(letters);
  if (wrong == std::string::npos) return;
  problems.add(key, absl::StrCat("has '", pattern.substr(wrong, 1), "' at ", wrong + 1,
                                 ", must be letters of ", letters));
}

// Of a hybrid: the layers that have a sliding window, and its size.
void check_windows(const ModelRecipe& recipe, Problems& problems) {
  const LayoutRecipe& layout = recipe.layout;
  const bool windows = recipe.attention.sliding_window > 0;
  if (!windows && layout.pattern.find('W') != std::string::npos) {
    problems.add("pattern", "has W layers, which need model.attention.sliding_window");
  }
  if (layout.window_period == 0) return;
  if (!layout.pattern.empty()) {
    problems.add("window_period", "goes without pattern, whose W layers have the window");
  } else if (!windows) {
    problems.add("window_period", "needs model.attention.sliding_window");
  }
}

// Why no layer of a hybrid has the sliding window.
std::string why_no_window(const ModelRecipe& recipe) {
  const LayoutRecipe& layout = recipe.layout;
  const size_t first = layout.pattern.find('W');
  if (first != std::string::npos) {
    return absl::StrCat("the first W of layout.pattern is letter ", first + 1,
                        ", beyond num_layers (", recipe.num_layers, ")");
  }
  if (layout.window_period == 0) return "that takes W in layout.pattern, or layout.window_period";
  return absl::StrCat("of the layers that layout.window_period (", layout.window_period,
                      ") and window_offset (", *layout.window_offset,
                      ") name, attention_period leaves none below num_layers (", recipe.num_layers,
                      ")");
}

// Of a hybrid: whether a layer has the sliding window that is given. REQUIRES: as build_config.
void check_window_is_used(const ModelRecipe& recipe, Problems& problems) {
  if (recipe.attention.sliding_window == 0) return;
  const ModelConfig config = build_config(recipe);
  const auto has_window = [](const LayerConfig& layer) {
    const auto* attention = std::get_if<AttentionConfig>(&layer.mixer);
    return attention != nullptr && attention->sliding_window > 0;
  };
  if (std::any_of(config.layers.begin(), config.layers.end(), has_window)) return;
  problems.add("attention.sliding_window",
               absl::StrCat("is ", recipe.attention.sliding_window,
                            ", but no layer has it: ", why_no_window(recipe)));
}

void check_layout(const ModelRecipe& recipe, Problems& problems) {
  const LayoutRecipe& layout = recipe.layout;
  const auto scope = problems.enter("layout");
  if (*layout.attention_offset >= layout.attention_period) {
    problems.add("attention_offset",
                 absl::StrCat("is ", *layout.attention_offset, ", must be below attention_period (",
                              layout.attention_period, ")"));
  }
  if (layout.window_period > 0 && *layout.window_offset >= layout.window_period) {
    problems.add("window_offset",
                 absl::StrCat("is ", *layout.window_offset, ", must be below window_period (",
                              layout.window_period, ")"));
  }
  if (*layout.moe_period > 0 && *layout.moe_offset >= *layout.moe_period) {
    problems.add("moe_offset",
                 absl::StrCat("is ", *layout.moe_offset, ", must be below moe_period (",
                              *layout.moe_period, ")"));
  }
  if (recipe.family == Family::kHybrid) {
    check_pattern("pattern", layout.pattern, "AWMS", problems);
    check_pattern("feed_forward", layout.feed_forward, "DEN", problems);
    check_windows(recipe, problems);
    return;
  }
  if (!layout.pattern.empty()) problems.add("pattern", "goes with family: hybrid");
  if (layout.mixer != MixerKind::kMamba) problems.add("mixer", "goes with family: hybrid");
  if (layout.window_period > 0) problems.add("window_period", "goes with family: hybrid");
  if (!layout.feed_forward.empty()) problems.add("feed_forward", "goes with family: hybrid");
}

void check_layers(const ModelRecipe& recipe, Problems& problems) {
  int64_t total = 0;
  for (size_t i = 0; i < recipe.layers.size(); ++i) {
    const LayerRecipe& layer = recipe.layers[i];
    const auto scope = problems.enter("layers", i);
    total += layer.repeat;
    if (layer.mixer.kind == MixerKind::kAttention) {
      const auto inner = problems.enter("mixer");
      check_attention(layer.mixer.attention, recipe.rope, problems);
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

void check_step_sizes(const char* key, const StepSizeInit& dt, Problems& problems) {
  if (dt.min <= dt.max) return;
  const auto scope = problems.enter(key);
  problems.add("dt_min", absl::StrCat("is ", dt.min, ", must be at most dt_max (", dt.max, ")"));
}

bool uses_mamba2(const ModelRecipe& recipe) {
  if (recipe.family == Family::kMamba2) return true;
  if (recipe.family == Family::kLayers) {
    for (const LayerRecipe& layer : recipe.layers) {
      if (layer.mixer.kind == MixerKind::kMamba2) return true;
    }
    return false;
  }
  if (recipe.family != Family::kHybrid) return false;
  if (!recipe.layout.pattern.empty()) {
    return recipe.layout.pattern.find('S') != std::string::npos;
  }
  return recipe.layout.mixer == MixerKind::kMamba2;
}

void check_mamba2(const ModelRecipe& recipe, Problems& problems) {
  const Mamba2Recipe& m = recipe.mamba2;
  const auto scope = problems.enter("mamba2");
  const auto check_heads = [&](int64_t expand) {
    const int64_t inner = expand * recipe.hidden_size;
    if (inner % m.head_dim != 0) {
      problems.add("head_dim",
                   absl::StrCat("is ", m.head_dim, ", must divide the inner width (", inner, ")"));
    } else if (inner / m.head_dim % m.num_groups != 0) {
      problems.add("num_groups", absl::StrCat("is ", m.num_groups, ", must divide the heads (",
                                              inner / m.head_dim, ")"));
    }
  };
  if (recipe.family != Family::kLayers) check_heads(m.expand);
  for (const LayerRecipe& layer : recipe.layers) {
    if (layer.mixer.kind == MixerKind::kMamba2) check_heads(*layer.mixer.expand);
  }
  if (m.dt_limit_high.has_value() && m.dt_limit_low > *m.dt_limit_high) {
    problems.add("dt_limit_low",
                 absl::StrCat("is ", m.dt_limit_low, ", must be at most dt_limit_high (",
                              *m.dt_limit_high, ")"));
  }
}

void check_layerwise(const ModelRecipe& recipe, Problems& problems) {
  const auto scope = problems.enter("layerwise");
  const auto check_size = [&](const char* key, const std::vector<double>& values) {
    const auto size = static_cast<int64_t>(values.size());
    if (size <= 2 || size == recipe.num_layers) return;
    problems.add(key, absl::StrCat("has ", size, " values, must have 1, 2 or num_layers (",
                                   recipe.num_layers, ")"));
  };
  check_size("qkv", recipe.layerwise.qkv);
  check_size("ffn", recipe.layerwise.ffn);
}

}  // namespace

void validate(const ModelRecipe& recipe, Problems& problems) {
  if (!recipe.head_dim.has_value()) {
    problems.add("num_heads", absl::StrCat("is ", *recipe.num_heads, ", must divide hidden_size (",
                                           recipe.hidden_size, ") unless head_dim is given"));
  }
  AttentionRecipe attention;
  attention.num_heads = recipe.num_heads;
  attention.num_kv_heads = recipe.num_kv_heads;
  attention.head_dim = recipe.head_dim;
  check_attention(attention, recipe.rope, problems);
  if (*recipe.rope.type == RopeType::kDynamic && recipe.attention.sliding_window > 0) {
    problems.add("attention.sliding_window", "must be 0 with rope.type dynamic");
  }
  check_rope(recipe, problems);
  {
    const auto scope = problems.enter("moe");
    check_top_k(recipe.moe.top_k, recipe.moe.num_experts, problems);
  }
  if (recipe.pad_token_id.value_or(-1) >= *recipe.vocab_size) {
    problems.add("pad_token_id",
                 absl::StrCat("is ", *recipe.pad_token_id, ", must be below vocab_size (",
                              *recipe.vocab_size, ")"));
  }
  check_step_sizes("mamba", recipe.mamba.dt, problems);
  check_step_sizes("mamba2", recipe.mamba2.dt, problems);
  if (uses_mamba2(recipe)) check_mamba2(recipe, problems);
  if (recipe.family == Family::kJamba || recipe.family == Family::kHybrid) {
    check_layout(recipe, problems);
  }
  if (recipe.family == Family::kLayers) {
    check_layers(recipe, problems);
  } else {
    check_layerwise(recipe, problems);
  }
  if (recipe.family == Family::kHybrid && !problems.has_errors()) {
    check_window_is_used(recipe, problems);
  }
}

}  // namespace weft
