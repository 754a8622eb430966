// Rules expanded over layers and experts: the tensors of a checkpoint.
#include <algorithm>
#include <span>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "base/check.h"
#include "models/huggingface/tensor_rules.h"

namespace weft {
namespace {

bool has(const std::string& text, const char* word) { return absl::StrContains(text, word); }

std::vector<std::string> logical_names(const HfRule& rule, int64_t layer) {
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

  void add_all(std::span<const HfRule> rules) {
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
  void add_layer(std::span<const HfRule> rules, int64_t layer) {
    for (size_t begin = 0; begin < rules.size();) {
      size_t end = begin + 1;
      const bool experts = has(rules[begin].name, "{j}");
      while (experts && end < rules.size() && has(rules[end].name, "{j}")) ++end;
      const ParameterSpec* first = table_.find(logical_names(rules[begin], layer)[0]);
      const int64_t count = !experts ? 1 : first == nullptr ? 0 : first->shape[0];
      for (int64_t j = 0; j < count; ++j) {
        for (const HfRule& rule : rules.subspan(begin, end - begin)) {
          add(rule, layer, experts ? j : -1);
        }
      }
      begin = end;
    }
  }

  void add(const HfRule& rule, int64_t layer, int64_t expert) {
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
  const std::vector<HfRule> rules = hf_rules(family);
  expander.add_all(rules);
  return expander.take();
}

bool is_hf_head(const std::string& name) {
  return name == "lm_head.weight" || name == "classifier.weight";
}

bool is_skipped_hf_tensor(Family family, const std::string& name) {
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
