// The tables of rules. Rows that several families share stand once, in the order of the state dict.
#include "models/huggingface/tensor_rules.h"

#include <span>

#include "base/check.h"

namespace weft {
namespace {

// An HfRule without the start of its name. It holds for the layers that have its logical tensors,
// so that one list serves models with and without biases.
struct Rule {
  const char* name;
  const char* parts;
  HfLayout layout = HfLayout::kSame;
};

// Rules whose names all start with `prefix`.
struct Group {
  const char* prefix;
  std::span<const Rule> rules;
};

// Parts that several families have.

constexpr Rule kHead[] = {{"lm_head.weight", "head.weight"}};
constexpr Rule kEmbedTokens[] = {{"embed_tokens.weight", "embedding.weight"}};
constexpr Rule kNorm[] = {{"norm.weight", "final_norm.weight"}};

constexpr Rule kSelfAttention[] = {
    {"q_proj.weight", "mixer.q.weight"}, {"q_proj.bias", "mixer.q.bias"},
    {"k_proj.weight", "mixer.k.weight"}, {"k_proj.bias", "mixer.k.bias"},
    {"v_proj.weight", "mixer.v.weight"}, {"v_proj.bias", "mixer.v.bias"},
    {"o_proj.weight", "mixer.o.weight"}, {"o_proj.bias", "mixer.o.bias"},
};

constexpr Rule kGatedMlp[] = {
    {"gate_proj.weight", "feed_forward.gate.weight"}, {"gate_proj.bias", "feed_forward.gate.bias"},
    {"up_proj.weight", "feed_forward.up.weight"},     {"up_proj.bias", "feed_forward.up.bias"},
    {"down_proj.weight", "feed_forward.down.weight"}, {"down_proj.bias", "feed_forward.down.bias"},
};

constexpr Rule kLlamaNorms[] = {
    {"input_layernorm.weight", "mixer_norm.weight"},
    {"post_attention_layernorm.weight", "feed_forward_norm.weight"},
};

// Mamba-1; only Jamba has the norms.
constexpr Rule kMambaMixer[] = {
    {"A_log", "mixer.a_log"},
    {"D", "mixer.d"},
    {"conv1d.weight", "mixer.conv.weight", HfLayout::kConv},
    {"conv1d.bias", "mixer.conv.bias"},
    {"in_proj.weight", "mixer.in_x.weight mixer.in_z.weight"},
    {"in_proj.bias", "mixer.in_x.bias mixer.in_z.bias"},
    {"x_proj.weight", "mixer.x_dt.weight mixer.x_b.weight mixer.x_c.weight"},
    {"dt_proj.weight", "mixer.dt.weight"},
    {"dt_proj.bias", "mixer.dt.bias"},
    {"out_proj.weight", "mixer.out.weight"},
    {"out_proj.bias", "mixer.out.bias"},
    {"dt_layernorm.weight", "mixer.dt_norm.weight"},
    {"b_layernorm.weight", "mixer.b_norm.weight"},
    {"c_layernorm.weight", "mixer.c_norm.weight"},
};

constexpr Rule kBackboneEmbedding[] = {{"embeddings.weight", "embedding.weight"}};
constexpr Rule kBackboneLayerNorm[] = {{"norm.weight", "mixer_norm.weight"}};
constexpr Rule kBackboneNorm[] = {{"norm_f.weight", "final_norm.weight"}};

constexpr Group kLlama[] = {
    {"model.", kEmbedTokens},
    {"model.layers.{i}.self_attn.", kSelfAttention},
    {"model.layers.{i}.mlp.", kGatedMlp},
    {"model.layers.{i}.", kLlamaNorms},
    {"model.", kNorm},
    {"", kHead},
};

constexpr Rule kMixtralExperts[] = {
    {"gate.weight", "feed_forward.router.weight"},
    {"experts.{j}.w1.weight", "feed_forward.experts.gate.weight"},
    {"experts.{j}.w2.weight", "feed_forward.experts.down.weight"},
    {"experts.{j}.w3.weight", "feed_forward.experts.up.weight"},
};
constexpr Group kMixtral[] = {
    {"model.", kEmbedTokens},
    {"model.layers.{i}.self_attn.", kSelfAttention},
    {"model.layers.{i}.block_sparse_moe.", kMixtralExperts},
    {"model.layers.{i}.", kLlamaNorms},
    {"model.", kNorm},
    {"", kHead},
};

constexpr Rule kJambaExperts[] = {
    {"router.weight", "feed_forward.router.weight"},
    {"experts.{j}.gate_proj.weight", "feed_forward.experts.gate.weight"},
    {"experts.{j}.up_proj.weight", "feed_forward.experts.up.weight"},
    {"experts.{j}.down_proj.weight", "feed_forward.experts.down.weight"},
};
constexpr Rule kJambaNorms[] = {
    {"input_layernorm.weight", "mixer_norm.weight"},
    {"pre_ff_layernorm.weight", "feed_forward_norm.weight"},
};
constexpr Rule kJambaNorm[] = {{"final_layernorm.weight", "final_norm.weight"}};
constexpr Group kJamba[] = {
    {"model.", kEmbedTokens},
    {"model.layers.{i}.mamba.", kMambaMixer},
    {"model.layers.{i}.self_attn.", kSelfAttention},
    {"model.layers.{i}.feed_forward.", kGatedMlp},
    {"model.layers.{i}.feed_forward.", kJambaExperts},
    {"model.layers.{i}.", kJambaNorms},
    {"model.", kJambaNorm},
    {"", kHead},
};

constexpr Rule kGpt2Embeddings[] = {
    {"wte.weight", "embedding.weight"},
    {"wpe.weight", "position_embedding.weight"},
};
constexpr Rule kGpt2Layer[] = {
    {"ln_1.weight", "mixer_norm.weight"},
    {"ln_1.bias", "mixer_norm.bias"},
    {"attn.c_attn.weight", "mixer.q.weight mixer.k.weight mixer.v.weight", HfLayout::kTransposed},
    {"attn.c_attn.bias", "mixer.q.bias mixer.k.bias mixer.v.bias"},
    {"attn.c_proj.weight", "mixer.o.weight", HfLayout::kTransposed},
    {"attn.c_proj.bias", "mixer.o.bias"},
    {"ln_2.weight", "feed_forward_norm.weight"},
    {"ln_2.bias", "feed_forward_norm.bias"},
    {"mlp.c_fc.weight", "feed_forward.up.weight", HfLayout::kTransposed},
    {"mlp.c_fc.bias", "feed_forward.up.bias"},
    {"mlp.c_proj.weight", "feed_forward.down.weight", HfLayout::kTransposed},
    {"mlp.c_proj.bias", "feed_forward.down.bias"},
};
constexpr Rule kGpt2Norm[] = {
    {"ln_f.weight", "final_norm.weight"},
    {"ln_f.bias", "final_norm.bias"},
};
constexpr Group kGpt2[] = {
    {"transformer.", kGpt2Embeddings},
    {"transformer.h.{i}.", kGpt2Layer},
    {"transformer.", kGpt2Norm},
    {"", kHead},
};

constexpr Rule kOpenElmEmbedding[] = {{"token_embeddings.weight", "embedding.weight"}};
constexpr Rule kOpenElmLayer[] = {
    {"attn.qkv_proj.weight", "mixer.q.weight mixer.k.weight mixer.v.weight"},
    {"attn.q_norm.weight", "mixer.q_norm.weight"},
    {"attn.k_norm.weight", "mixer.k_norm.weight"},
    {"attn.out_proj.weight", "mixer.o.weight"},
    {"ffn.proj_1.weight", "feed_forward.gate.weight feed_forward.up.weight"},
    {"ffn.proj_2.weight", "feed_forward.down.weight"},
    {"ffn_norm.weight", "feed_forward_norm.weight"},
    {"attn_norm.weight", "mixer_norm.weight"},
};
constexpr Group kOpenElm[] = {
    {"transformer.", kOpenElmEmbedding},
    {"transformer.layers.{i}.", kOpenElmLayer},
    {"transformer.", kNorm},
    {"", kHead},
};

constexpr Group kMamba[] = {
    {"backbone.", kBackboneEmbedding},
    {"backbone.layers.{i}.", kBackboneLayerNorm},
    {"backbone.layers.{i}.mixer.", kMambaMixer},
    {"backbone.", kBackboneNorm},
    {"", kHead},
};

constexpr Rule kMamba2Mixer[] = {
    {"dt_bias", "mixer.dt_bias"},
    {"A_log", "mixer.a_log"},
    {"D", "mixer.d"},
    {"conv1d.weight", "mixer.conv_x.weight mixer.conv_b.weight mixer.conv_c.weight",
     HfLayout::kConv},
    {"conv1d.bias", "mixer.conv_x.bias mixer.conv_b.bias mixer.conv_c.bias"},
    {"in_proj.weight",
     "mixer.in_z.weight mixer.in_x.weight mixer.in_b.weight mixer.in_c.weight mixer.in_dt.weight"},
    {"in_proj.bias",
     "mixer.in_z.bias mixer.in_x.bias mixer.in_b.bias mixer.in_c.bias mixer.in_dt.bias"},
    {"norm.weight", "mixer.norm.weight"},
    {"out_proj.weight", "mixer.out.weight"},
    {"out_proj.bias", "mixer.out.bias"},
};
constexpr Group kMamba2[] = {
    {"backbone.", kBackboneEmbedding},
    {"backbone.layers.{i}.", kBackboneLayerNorm},
    {"backbone.layers.{i}.mixer.", kMamba2Mixer},
    {"backbone.", kBackboneNorm},
    {"", kHead},
};

std::span<const Group> groups_of(Family family) {
  switch (family) {
    case Family::kLlama:
      return kLlama;
    case Family::kMixtral:
      return kMixtral;
    case Family::kJamba:
      return kJamba;
    case Family::kGpt2:
      return kGpt2;
    case Family::kOpenElm:
      return kOpenElm;
    case Family::kMamba:
      return kMamba;
    case Family::kMamba2:
      return kMamba2;
    case Family::kLayers:
    case Family::kHybrid:
      break;
  }
  WEFT_CHECK(false, "transformers has no family ", name_of(family));
}

}  // namespace

std::vector<HfRule> hf_rules(Family family) {
  std::vector<HfRule> rules;
  for (const Group& group : groups_of(family)) {
    for (const Rule& rule : group.rules) {
      rules.push_back({std::string(group.prefix) + rule.name, rule.parts, rule.layout});
    }
  }
  return rules;
}

}  // namespace weft
