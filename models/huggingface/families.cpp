// Members that are no single value (families.h): rotary positions, the step limit, OpenELM's lists.
#include "models/huggingface/families.h"

#include <cmath>

#include "models/layerwise.h"

namespace weft {
namespace {

// As transformers reads it: rope_type counts where it is there, also as null, and type only else.
RopeType rope_type(MemberReader& dict, const Json& json) {
  const auto now = json.find("rope_type"), old = json.find("type");
  const auto word = now != json.end() ? now : old;
  if (word == json.end() || *word == Json("default")) return RopeType::kDefault;
  if (*word == Json("linear")) return RopeType::kLinear;
  if (*word == Json("dynamic")) return RopeType::kDynamic;
  if (*word == Json("llama3")) return RopeType::kLlama3;
  if (*word == Json("yarn")) return RopeType::kYarn;
  dict.problem(word.key(), absl::StrCat("is ", word->dump(),
                                        ", weft knows default, linear, dynamic, llama3 and yarn"));
  return RopeType::kDefault;
}

// The scale of cosines and sines for a factor, by the paper's rule (arXiv:2309.00071) times
// `mscale`.
double yarn_scale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void read_yarn(MemberReader& dict, RopeRecipe& rope) {
  dict.member("beta_fast", rope.beta_fast, 32.0);
  dict.member("beta_slow", rope.beta_slow, 1.0);
  dict.member("truncate", rope.truncate, true);
  dict.optional("attention_factor", rope.attention_factor);
  double mscale = 0, mscale_all_dim = 0;
  dict.member("mscale", mscale, 0.0);
  dict.member("mscale_all_dim", mscale_all_dim, 0.0);
  if (rope.attention_factor.has_value()) return;
  rope.attention_factor =
      mscale != 0 && mscale_all_dim != 0
          ? yarn_scale(rope.factor, mscale) / yarn_scale(rope.factor, mscale_all_dim)
          : yarn_scale(rope.factor, 1.0);
}

// The dictionary `json`, which is member `name` of the file.
void read_rope_dictionary(MemberReader& v, const char* name, const Json& json, ModelRecipe& m) {
  MemberReader dict(json);
  RopeRecipe& rope = m.rope;
  rope.type = rope_type(dict, json);
  dict.ignored({"rope_type", "type", "attention_factor", "mscale", "mscale_all_dim", "beta_fast",
                "beta_slow", "truncate", "low_freq_factor", "high_freq_factor", "factor",
                "original_max_position_embeddings"});
  dict.member("rope_theta", rope.theta, rope.theta);
  dict.fixed("partial_rotary_factor", 1.0);
  const RopeType type = *rope.type;
  if (type == RopeType::kLlama3 || type == RopeType::kYarn) {
    dict.member("original_max_position_embeddings", rope.original_max_position,
                m.max_position.value_or(1));
  } else if (type == RopeType::kDynamic) {
    rope.original_max_position = m.max_position.value_or(1);
  }
  if (type == RopeType::kYarn) {
    const double ratio = static_cast<double>(m.max_position.value_or(1)) /
                         static_cast<double>(std::max<int64_t>(1, *rope.original_max_position));
    dict.member("factor", rope.factor, ratio);
    read_yarn(dict, rope);
  } else if (type != RopeType::kDefault) {
    dict.member("factor", rope.factor);
  }
  if (type == RopeType::kLlama3) {
    dict.member("low_freq_factor", rope.low_freq_factor);
    dict.member("high_freq_factor", rope.high_freq_factor);
  }
  dict.refuse_unknown();
  for (const std::string& problem : dict.problems()) v.problem(name, problem);
}

double number_of(const Json& json) {
  if (json.is_number()) return json.get<double>();
  const std::string* word = find_string(json, "__float__");
  const bool infinite = word != nullptr && *word == "Infinity";
  return infinite ? std::numeric_limits<double>::infinity()
                  : std::numeric_limits<double>::quiet_NaN();
}

// One multiplier, or a list of them.
void multipliers(MemberReader& v, const char* name, std::vector<double>& out) {
  const Json* value = v.take(name);
  if (value == nullptr) return v.problem(name, "is missing");
  if (!value->is_number() && (!value->is_array() || value->empty())) {
    return v.problem(name, "must be a number or a list");
  }
  for (const Json& item : value->is_array() ? *value : Json::array({*value})) {
    const double number = item.is_number() ? item.get<double>() : 0;
    if (!(number >= 1e-3 && number <= 1e3)) {
      return v.problem(name, "must be a list of numbers from 0.001 to 1000");
    }
    out.push_back(number);
  }
}

// Heads of all layers, written out beside the multipliers that they follow from.
void check_heads(MemberReader& v, const char* name, const std::vector<int64_t>& heads) {
  const Json* value = v.take(name);
  if (value == nullptr || *value == Json(heads)) return;
  v.problem(name,
            absl::StrCat("is ", value->dump(), ", but the multipliers give ", Json(heads).dump()));
}

// Query heads of every layer, or key/value heads.
std::vector<int64_t> heads_of(const ModelRecipe& m, bool queries) {
  std::vector<int64_t> heads;
  const int64_t group = *m.layerwise.gqa_group;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    const int64_t count =
        layerwise_heads({m.hidden_size, *m.head_dim, group}, m.layerwise.qkv, i, m.num_layers);
    heads.push_back(queries ? count : count / group);
  }
  return heads;
}

template <class V>
void plain_openelm_members(V& v, ModelRecipe& m) {
  v.member("vocab_size", m.vocab_size);
  v.member("model_dim", m.hidden_size);
  v.member("num_transformer_layers", m.num_layers);
  v.member("head_dim", m.head_dim, 64);
  v.member("num_gqa_groups", m.layerwise.gqa_group, 1);
  v.member("ffn_dim_divisor", m.layerwise.ffn_divisor, 256);
  v.member("max_context_length", m.max_position, 2048);
  v.member("rope_freq_constant", m.rope.theta, 10000.0);
  v.member("normalize_qk_projections", m.attention.qk_norm, false);
  v.member("share_input_output_layers", m.tie_embeddings, false);
  v.member("initializer_range", m.init.std, 0.02);
  v.fixed("activation_fn_name", "swish");
  v.fixed("normalization_layer_name", "rms_norm");
  v.fixed("ffn_with_glu", true);
  v.ignored({"rope_max_length"});
}

}  // namespace

void rope_members(MemberReader& v, ModelRecipe& m, double default_theta) {
  m.rope.type = RopeType::kDefault;
  v.member("rope_theta", m.rope.theta, default_theta);
  v.fixed("partial_rotary_factor", 1.0);
  // As in transformers, the older word counts where it says anything: null and {} do not.
  v.ignored({"rope_scaling", "rope_parameters"});
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const Json* dictionary = v.take(name);
    if (dictionary == nullptr) continue;
    if (!dictionary->is_object()) return v.problem(name, "must be an object or null");
    if (!dictionary->empty()) return read_rope_dictionary(v, name, *dictionary, m);
  }
}

void rope_members(MemberWriter& v, ModelRecipe& m, double) {
  const RopeRecipe& rope = m.rope;
  Json& json = v.json();
  json["rope_theta"] = rope.theta;
  json["rope_scaling"] = nullptr;
  Json dict = {{"factor", rope.factor}};
  switch (*rope.type) {
    case RopeType::kNone:
    case RopeType::kDefault:
      return;
    case RopeType::kNtk: {  // transformers has no such type: the base that it comes to
      const double e = static_cast<double>(*m.head_dim);
      json["rope_theta"] = rope.theta * std::pow(rope.factor, e / (e - 2));
      return;
    }
    case RopeType::kLinear:
      dict["rope_type"] = "linear";
      break;
    case RopeType::kDynamic:
      dict["rope_type"] = "dynamic";
      break;
    case RopeType::kLlama3:
      dict["rope_type"] = "llama3";
      dict["low_freq_factor"] = rope.low_freq_factor;
      dict["high_freq_factor"] = rope.high_freq_factor;
      dict["original_max_position_embeddings"] = *rope.original_max_position;
      break;
    case RopeType::kYarn:
      dict["rope_type"] = "yarn";
      dict["beta_fast"] = rope.beta_fast;
      dict["beta_slow"] = rope.beta_slow;
      dict["truncate"] = rope.truncate;
      dict["attention_factor"] = *rope.attention_factor;
      dict["original_max_position_embeddings"] = *rope.original_max_position;
      break;
  }
  json["rope_scaling"] = std::move(dict);
}

void dt_limit_member(MemberReader& v, ModelRecipe& m) {
  const Json* limit = v.take("time_step_limit");
  if (limit == nullptr) return;
  const bool pair = limit->is_array() && limit->size() == 2;
  const double low = pair ? number_of((*limit)[0]) : 0, high = pair ? number_of((*limit)[1]) : 0;
  if (!pair || !(low >= 0) || !(high >= low) || std::isinf(low)) {
    return v.problem("time_step_limit",
                     absl::StrCat("is ", limit->dump(), ", must be two numbers, the lower first"));
  }
  m.mamba2.dt_limit_low = low;
  if (!std::isinf(high)) m.mamba2.dt_limit_high = high;
}

void dt_limit_member(MemberWriter& v, ModelRecipe& m) {
  const Json high = m.mamba2.dt_limit_high.has_value() ? Json(*m.mamba2.dt_limit_high)
                                                       : Json{{"__float__", "Infinity"}};
  v.json()["time_step_limit"] = {m.mamba2.dt_limit_low, high};
}

void openelm_members(MemberReader& v, ModelRecipe& m) {
  plain_openelm_members(v, m);
  multipliers(v, "qkv_multipliers", m.layerwise.qkv);
  multipliers(v, "ffn_multipliers", m.layerwise.ffn);
  v.ignored({"num_query_heads", "num_kv_heads"});
  // What is wrong elsewhere, or out of range, is said by itself: heads cannot follow from it.
  if (!v.problems().empty()) return;
  const bool sizes = m.num_layers >= 1 && m.num_layers <= kMaxLayers && *m.head_dim >= 1 &&
                     *m.layerwise.gqa_group >= 1;
  if (!sizes) return;
  const std::vector<double>& qkv = m.layerwise.qkv;
  if (qkv.size() > 2 && static_cast<int64_t>(qkv.size()) != m.num_layers) {
    return v.problem("qkv_multipliers", "must have 1, 2 or num_transformer_layers values");
  }
  check_heads(v, "num_query_heads", heads_of(m, /*queries=*/true));
  check_heads(v, "num_kv_heads", heads_of(m, /*queries=*/false));
}

void openelm_members(MemberWriter& v, ModelRecipe& m) {
  plain_openelm_members(v, m);
  v.json()["qkv_multipliers"] = m.layerwise.qkv;
  std::vector<double> ffn;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    ffn.push_back(layerwise_value(m.layerwise.ffn, i, m.num_layers));
  }
  v.json()["ffn_multipliers"] = ffn;
  v.json()["num_query_heads"] = heads_of(m, /*queries=*/true);
  v.json()["num_kv_heads"] = heads_of(m, /*queries=*/false);
}

}  // namespace weft
