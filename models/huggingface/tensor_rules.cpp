#include "models/huggingface/tensor_rules.h"

#include <span>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "base/check.h"

namespace weft {
namespace {

// {i}: layer, {j}: expert. A rule holds for the layers that have its logical tensors. `parts` are
// separated by spaces; in layers they stand without "layers.{i}.".
struct Rule {
  const char* name;
  const char* parts;
  HfLayout layout = HfLayout::kSame;
};

constexpr Rule kLlama[] = {
    {"model.embed_tokens.weight", "embedding.weight"},
    {"model.layers.{i}.self_attn.q_proj.weight", "mixer.q.weight"},
    {"model.layers.{i}.self_attn.q_proj.bias", "mixer.q.bias"},
    {"model.layers.{i}.self_attn.k_proj.weight", "mixer.k.weight"},
    {"model.layers.{i}.self_attn.k_proj.bias", "mixer.k.bias"},
    {"model.layers.{i}.self_attn.v_proj.weight", "mixer.v.weight"},
    {"model.layers.{i}.self_attn.v_proj.bias", "mixer.v.bias"},
    {"model.layers.{i}.self_attn.o_proj.weight", "mixer.o.weight"},
    {"model.layers.{i}.self_attn.o_proj.bias", "mixer.o.bias"},
    {"model.layers.{i}.mlp.gate_proj.weight", "feed_forward.gate.weight"},
    {"model.layers.{i}.mlp.gate_proj.bias", "feed_forward.gate.bias"},
    {"model.layers.{i}.mlp.up_proj.weight", "feed_forward.up.weight"},
    {"model.layers.{i}.mlp.up_proj.bias", "feed_forward.up.bias"},
    {"model.layers.{i}.mlp.down_proj.weight", "feed_forward.down.weight"},
    {"model.layers.{i}.mlp.down_proj.bias", "feed_forward.down.bias"},
    {"model.layers.{i}.input_layernorm.weight", "mixer_norm.weight"},
    {"model.layers.{i}.post_attention_layernorm.weight", "feed_forward_norm.weight"},
    {"model.norm.weight", "final_norm.weight"},
    {"lm_head.weight", "head.weight"},
};

constexpr Rule kMixtral[] = {
    {"model.embed_tokens.weight", "embedding.weight"},
    {"model.layers.{i}.self_attn.q_proj.weight", "mixer.q.weight"},
    {"model.layers.{i}.self_attn.k_proj.weight", "mixer.k.weight"},
    {"model.layers.{i}.self_attn.v_proj.weight", "mixer.v.weight"},
    {"model.layers.{i}.self_attn.o_proj.weight", "mixer.o.weight"},
    {"model.layers.{i}.block_sparse_moe.gate.weight", "feed_forward.router.weight"},
    {"model.layers.{i}.block_sparse_moe.experts.{j}.w1.weight", "feed_forward.experts.gate.weight"},
    {"model.layers.{i}.block_sparse_moe.experts.{j}.w2.weight", "feed_forward.experts.down.weight"},
    {"model.layers.{i}.block_sparse_moe.experts.{j}.w3.weight", "feed_forward.experts.up.weight"},
    {"model.layers.{i}.input_layernorm.weight", "mixer_norm.weight"},
    {"model.layers.{i}.post_attention_layernorm.weight", "feed_forward_norm.weight"},
    {"model.norm.weight", "final_norm.weight"},
    {"lm_head.weight", "head.weight"},
};

constexpr Rule kJamba[] = {
    {"model.embed_tokens.weight", "embedding.weight"},
    {"model.layers.{i}.mamba.A_log", "mixer.a_log"},
    {"model.layers.{i}.mamba.D", "mixer.d"},
    {"model.layers.{i}.mamba.conv1d.weight", "mixer.conv.weight", HfLayout::kConv},
    {"model.layers.{i}.mamba.conv1d.bias", "mixer.conv.bias"},
    {"model.layers.{i}.mamba.in_proj.weight", "mixer.in_x.weight mixer.in_z.weight"},
    {"model.layers.{i}.mamba.in_proj.bias", "mixer.in_x.bias mixer.in_z.bias"},
    {"model.layers.{i}.mamba.x_proj.weight", "mixer.x_dt.weight mixer.x_b.weight mixer.x_c.weight"},
    {"model.layers.{i}.mamba.dt_proj.weight", "mixer.dt.weight"},
    {"model.layers.{i}.mamba.dt_proj.bias", "mixer.dt.bias"},
    {"model.layers.{i}.mamba.out_proj.weight", "mixer.out.weight"},
    {"model.layers.{i}.mamba.out_proj.bias", "mixer.out.bias"},
    {"model.layers.{i}.mamba.dt_layernorm.weight", "mixer.dt_norm.weight"},
    {"model.layers.{i}.mamba.b_layernorm.weight", "mixer.b_norm.weight"},
    {"model.layers.{i}.mamba.c_layernorm.weight", "mixer.c_norm.weight"},
    {"model.layers.{i}.self_attn.q_proj.weight", "mixer.q.weight"},
    {"model.layers.{i}.self_attn.k_proj.weight", "mixer.k.weight"},
    {"model.layers.{i}.self_attn.v_proj.weight", "mixer.v.weight"},
    {"model.layers.{i}.self_attn.o_proj.weight", "mixer.o.weight"},
    {"model.layers.{i}.feed_forward.gate_proj.weight", "feed_forward.gate.weight"},
    {"model.layers.{i}.feed_forward.up_proj.weight", "feed_forward.up.weight"},
    {"model.layers.{i}.feed_forward.down_proj.weight", "feed_forward.down.weight"},
    {"model.layers.{i}.feed_forward.router.weight", "feed_forward.router.weight"},
    {"model.layers.{i}.feed_forward.experts.{j}.gate_proj.weight",
     "feed_forward.experts.gate.weight"},
    {"model.layers.{i}.feed_forward.experts.{j}.up_proj.weight", "feed_forward.experts.up.weight"},
    {"model.layers.{i}.feed_forward.experts.{j}.down_proj.weight",
     "feed_forward.experts.down.weight"},
    {"model.layers.{i}.input_layernorm.weight", "mixer_norm.weight"},
    {"model.layers.{i}.pre_ff_layernorm.weight", "feed_forward_norm.weight"},
    {"model.final_layernorm.weight", "final_norm.weight"},
    {"lm_head.weight", "head.weight"},
};

constexpr Rule kGpt2[] = {
    {"transformer.wte.weight", "embedding.weight"},
    {"transformer.wpe.weight", "position_embedding.weight"},
    {"transformer.h.{i}.ln_1.weight", "mixer_norm.weight"},
    {"transformer.h.{i}.ln_1.bias", "mixer_norm.bias"},
    {"transformer.h.{i}.attn.c_attn.weight", "mixer.q.weight mixer.k.weight mixer.v.weight",
     HfLayout::kTransposed},
    {"transformer.h.{i}.attn.c_attn.bias", "mixer.q.bias mixer.k.bias mixer.v.bias"},
    {"transformer.h.{i}.attn.c_proj.weight", "mixer.o.weight", HfLayout::kTransposed},
    {"transformer.h.{i}.attn.c_proj.bias", "mixer.o.bias"},
    {"transformer.h.{i}.ln_2.weight", "feed_forward_norm.weight"},
    {"transformer.h.{i}.ln_2.bias", "feed_forward_norm.bias"},
    {"transformer.h.{i}.mlp.c_fc.weight", "feed_forward.up.weight", HfLayout::kTransposed},
    {"transformer.h.{i}.mlp.c_fc.bias", "feed_forward.up.bias"},
    {"transformer.h.{i}.mlp.c_proj.weight", "feed_forward.down.weight", HfLayout::kTransposed},
    {"transformer.h.{i}.mlp.c_proj.bias", "feed_forward.down.bias"},
    {"transformer.ln_f.weight", "final_norm.weight"},
    {"transformer.ln_f.bias", "final_norm.bias"},
    {"lm_head.weight", "head.weight"},
};

constexpr Rule kOpenElm[] = {
    {"transformer.token_embeddings.weight", "embedding.weight"},
    {"transformer.layers.{i}.attn.qkv_proj.weight", "mixer.q.weight mixer.k.weight mixer.v.weight"},
    {"transformer.layers.{i}.attn.q_norm.weight", "mixer.q_norm.weight"},
    {"transformer.layers.{i}.attn.k_norm.weight", "mixer.k_norm.weight"},
    {"transformer.layers.{i}.attn.out_proj.weight", "mixer.o.weight"},
    {"transformer.layers.{i}.ffn.proj_1.weight", "feed_forward.gate.weight feed_forward.up.weight"},
    {"transformer.layers.{i}.ffn.proj_2.weight", "feed_forward.down.weight"},
    {"transformer.layers.{i}.ffn_norm.weight", "feed_forward_norm.weight"},
    {"transformer.layers.{i}.attn_norm.weight", "mixer_norm.weight"},
    {"transformer.norm.weight", "final_norm.weight"},
    {"lm_head.weight", "head.weight"},
};

constexpr Rule kMamba[] = {
    {"backbone.embeddings.weight", "embedding.weight"},
    {"backbone.layers.{i}.norm.weight", "mixer_norm.weight"},
    {"backbone.layers.{i}.mixer.A_log", "mixer.a_log"},
    {"backbone.layers.{i}.mixer.D", "mixer.d"},
    {"backbone.layers.{i}.mixer.conv1d.weight", "mixer.conv.weight", HfLayout::kConv},
    {"backbone.layers.{i}.mixer.conv1d.bias", "mixer.conv.bias"},
    {"backbone.layers.{i}.mixer.in_proj.weight", "mixer.in_x.weight mixer.in_z.weight"},
    {"backbone.layers.{i}.mixer.in_proj.bias", "mixer.in_x.bias mixer.in_z.bias"},
    {"backbone.layers.{i}.mixer.x_proj.weight",
     "mixer.x_dt.weight mixer.x_b.weight mixer.x_c.weight"},
    {"backbone.layers.{i}.mixer.dt_proj.weight", "mixer.dt.weight"},
    {"backbone.layers.{i}.mixer.dt_proj.bias", "mixer.dt.bias"},
    {"backbone.layers.{i}.mixer.out_proj.weight", "mixer.out.weight"},
    {"backbone.layers.{i}.mixer.out_proj.bias", "mixer.out.bias"},
    {"backbone.norm_f.weight", "final_norm.weight"},
    {"lm_head.weight", "head.weight"},
};

constexpr Rule kMamba2[] = {
    {"backbone.embeddings.weight", "embedding.weight"},
    {"backbone.layers.{i}.norm.weight", "mixer_norm.weight"},
    {"backbone.layers.{i}.mixer.dt_bias", "mixer.dt_bias"},
    {"backbone.layers.{i}.mixer.A_log", "mixer.a_log"},
    {"backbone.layers.{i}.mixer.D", "mixer.d"},
    {"backbone.layers.{i}.mixer.conv1d.weight",
     "mixer.conv_x.weight mixer.conv_b.weight mixer.conv_c.weight", HfLayout::kConv},
    {"backbone.layers.{i}.mixer.conv1d.bias",
     "mixer.conv_x.bias mixer.conv_b.bias mixer.conv_c.bias"},
    {"backbone.layers.{i}.mixer.in_proj.weight",
     "mixer.in_z.weight mixer.in_x.weight mixer.in_b.weight mixer.in_c.weight mixer.in_dt.weight"},
    {"backbone.layers.{i}.mixer.in_proj.bias",
     "mixer.in_z.bias mixer.in_x.bias mixer.in_b.bias mixer.in_c.bias mixer.in_dt.bias"},
    {"backbone.layers.{i}.mixer.norm.weight", "mixer.norm.weight"},
    {"backbone.layers.{i}.mixer.out_proj.weight", "mixer.out.weight"},
    {"backbone.layers.{i}.mixer.out_proj.bias", "mixer.out.bias"},
    {"backbone.norm_f.weight", "final_norm.weight"},
    {"lm_head.weight", "head.weight"},
};

std::span<const Rule> rules_of(Family family) {
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

bool has(const char* text, const char* word) { return absl::StrContains(text, word); }

std::vector<std::string> logical_names(const Rule& rule, int64_t layer) {
  std::vector<std::string> names;
  const std::string prefix = has(rule.name, "{i}") ? absl::StrCat("layers.", layer, ".") : "";
  const std::string parts = rule.parts;
  for (size_t begin = 0; begin < parts.size();) {
    const size_t end = std::min(parts.find(' ', begin), parts.size());
    names.push_back(prefix + parts.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

// Rules expanded over layers and experts, and which logical tensors they have used.
class Expander {
 public:
  explicit Expander(const ParameterTable& table) : table_(table) {
    for (const ParameterSpec& spec : table.rows()) {
      if (absl::StartsWith(spec.name, "layers.")) {
        layers_ = std::max<int64_t>(layers_, std::stoll(spec.name.substr(7)) + 1);
      }
    }
  }

  void add_all(std::span<const Rule> rules) {
    for (size_t begin = 0; begin < rules.size();) {
      size_t end = begin + 1;
      const bool layered = has(rules[begin].name, "{i}");
      while (layered && end < rules.size() && has(rules[end].name, "{i}")) ++end;
      for (int64_t layer = 0; layer < (layered ? layers_ : 1); ++layer) {
        add_layer(rules.subspan(begin, end - begin), layer);
      }
      begin = end;
    }
  }

  std::vector<HfTensor> take() {
    WEFT_CHECK(used_ == table_.rows().size(), used_, " of ", table_.rows().size(),
               " parameters have a tensor");
    return std::move(tensors_);
  }

 private:
  void add_layer(std::span<const Rule> rules, int64_t layer) {
    for (size_t begin = 0; begin < rules.size();) {
      size_t end = begin + 1;
      const bool experts = has(rules[begin].name, "{j}");
      while (experts && end < rules.size() && has(rules[end].name, "{j}")) ++end;
      const ParameterSpec* first = table_.find(logical_names(rules[begin], layer)[0]);
      const int64_t count = !experts ? 1 : first == nullptr ? 0 : first->shape[0];
      for (int64_t j = 0; j < count; ++j) {
        for (const Rule& rule : rules.subspan(begin, end - begin)) {
          add(rule, layer, experts ? j : -1);
        }
      }
      begin = end;
    }
  }

  void add(const Rule& rule, int64_t layer, int64_t expert) {
    HfTensor tensor{.name = absl::StrReplaceAll(
                        rule.name, {{"{i}", absl::StrCat(layer)}, {"{j}", absl::StrCat(expert)}}),
                    .shape = {},
                    .layout = rule.layout,
                    .parts = {}};
    for (const std::string& name : logical_names(rule, layer)) {
      const ParameterSpec* spec = table_.find(name);
      if (spec == nullptr) {
        WEFT_CHECK(tensor.parts.empty(), "'", tensor.name, "' lacks '", name, "'");
        return;
      }
      std::vector<int64_t> shape = spec->shape;
      if (expert >= 0) shape.erase(shape.begin());
      tensor.parts.push_back({name, expert, shape[0]});
      if (tensor.parts.size() == 1) {
        tensor.shape = shape;
      } else {
        tensor.shape[0] += shape[0];
      }
      if (expert <= 0) ++used_;
    }
    if (rule.layout == HfLayout::kTransposed) std::swap(tensor.shape[0], tensor.shape[1]);
    if (rule.layout == HfLayout::kConv) tensor.shape.insert(tensor.shape.begin() + 1, 1);
    tensors_.push_back(std::move(tensor));
  }

  const ParameterTable& table_;
  int64_t layers_ = 0;
  size_t used_ = 0;
  std::vector<HfTensor> tensors_;
};

}  // namespace

std::vector<HfTensor> hf_tensors(Family family, const ParameterTable& table) {
  Expander expander(table);
  expander.add_all(rules_of(family));
  return expander.take();
}

bool is_skipped_hf_tensor(Family family, bool tied, const std::string& name) {
  if (tied && (name == "lm_head.weight" || name == "classifier.weight")) return true;
  if (family == Family::kGpt2) {
    return absl::EndsWith(name, ".attn.bias") || absl::EndsWith(name, ".attn.masked_bias");
  }
  return absl::EndsWith(name, ".self_attn.rotary_emb.inv_freq");
}

std::vector<std::string> hf_aliases(Family family, const std::string& name) {
  const bool prefixed = family == Family::kGpt2 || family == Family::kOpenElm;
  if (prefixed && absl::StartsWith(name, "transformer.")) return {name.substr(12)};
  if (family == Family::kOpenElm && name == "lm_head.weight") return {"classifier.weight"};
  if (name == "backbone.embeddings.weight") return {"backbone.embedding.weight"};
  return {};
}

}  // namespace weft
