#pragma once
// What `model:` of a recipe says: a family's few numbers, or the list of layers itself. families.h
// turns it into a ModelConfig.
#include <string>
#include <vector>

#include "base/schema.h"
#include "models/layer_recipe.h"
#include "models/part_recipes.h"

namespace weft {

enum class Family { kLayers, kJamba, kLlama, kGpt2, kMixtral, kOpenElm, kMamba, kMamba2, kHybrid };
constexpr auto enum_names(Family) {
  return std::array{EnumName{Family::kLayers, "layers"},   EnumName{Family::kJamba, "jamba"},
                    EnumName{Family::kLlama, "llama"},     EnumName{Family::kGpt2, "gpt2"},
                    EnumName{Family::kMixtral, "mixtral"}, EnumName{Family::kOpenElm, "openelm"},
                    EnumName{Family::kMamba, "mamba"},     EnumName{Family::kMamba2, "mamba2"},
                    EnumName{Family::kHybrid, "hybrid"}};
}

struct ModelRecipe {
  Family family = Family::kLayers;
  Auto<int64_t> vocab_size;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  std::vector<LayerRecipe> layers;
  Auto<int64_t> num_heads, num_kv_heads, head_dim, intermediate_size, max_position;
  Auto<bool> tie_embeddings, learned_positions, residual_fp32;
  OrNone<int64_t> pad_token_id;
  NormRecipe norm;
  AttentionDefaults attention;
  MlpDefaults mlp;
  RopeRecipe rope;
  InitRecipe init;
  MoeRecipe moe;
  MambaRecipe mamba;
  Mamba2Recipe mamba2;
  LayoutRecipe layout;
  LayerwiseRecipe layerwise;

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
    schema.field(
        "num_heads", self.num_heads, within(1, kMaxWidth),
        "query heads; auto: hidden_size / head_dim (64 if that is auto too), at least 1, or "
        "the next lower divisor");
    schema.field("num_kv_heads", self.num_kv_heads, within(1, kMaxWidth),
                 "key/value heads; auto: num_heads");
    schema.field("head_dim", self.head_dim, within(1, kMaxWidth),
                 "head width; auto: hidden_size / num_heads, which must divide; 64 for openelm");
    schema.field("intermediate_size", self.intermediate_size, within(1, kMaxWidth),
                 "hidden width of MLP and experts; auto: 8/3 hidden_size rounded up to 64; 4 "
                 "hidden_size for gpt2");
    schema.field("max_position", self.max_position, within(1, 1 << 30),
                 "longest sequence that the model is made for: rows of learned positions, and what "
                 "some kinds of rope scaling start from; auto: the longest sequence_length");
    schema.field(
        "tie_embeddings", self.tie_embeddings, any(),
        "head and embedding are one tensor; auto: true for gpt2, openelm, mamba and mamba2");
    schema.field(
        "learned_positions", self.learned_positions, any(),
        "a learned embedding of positions is added to that of tokens; auto: true for gpt2");
    schema.field(
        "residual_fp32", self.residual_fp32, any(),
        "keep the residual stream in fp32 where the rest is bf16; auto: true for mamba and "
        "mamba2");
    schema.field("pad_token_id", self.pad_token_id, within(0, kMaxWidth),
                 "a token whose embedding starts at zero and learns from no lookup");
    schema.field("norm", self.norm, any(), "the norms before and after the layers");
    schema.field("attention", self.attention, any(), "all attention layers");
    schema.field("mlp", self.mlp, any(), "all dense feed-forward parts");
    schema.field("rope", self.rope, any(), "rotary position embedding (arXiv:2104.09864)");
    schema.field("init", self.init, any(), "initial values");
    schema.field("moe", self.moe, any(), "mixture of experts");
    schema.field("mamba", self.mamba, any(), "Mamba-1 mixers (arXiv:2312.00752)");
    schema.field("mamba2", self.mamba2, any(), "Mamba-2 mixers (arXiv:2405.21060)");
    schema.when(self.family == Family::kJamba || self.family == Family::kHybrid,
                "family: jamba or hybrid", [&] {
                  schema.field("layout", self.layout, any(),
                               "which layers are attention and which have experts");
                });
    schema.when(self.family != Family::kLayers, "a family", [&] {
      schema.field("layerwise", self.layerwise, any(),
                   "heads and feed-forward widths that change from layer to layer (OpenELM, "
                   "arXiv:2404.14619)");
    });
  }
};

}  // namespace weft
