#include "models/huggingface/config.h"

#include <cmath>

#include "absl/strings/str_join.h"

#include "models/families.h"
#include "models/huggingface/families.h"

namespace weft {
namespace {

constexpr JsonLimits kConfigLimits = {.depth = 16, .values = 100'000};

struct HfFamily {
  Family family;
  const char* model_type;
  const char* architecture;
};
constexpr HfFamily kFamilies[] = {{Family::kLlama, "llama", "LlamaForCausalLM"},
                                  {Family::kMixtral, "mixtral", "MixtralForCausalLM"},
                                  {Family::kGpt2, "gpt2", "GPT2LMHeadModel"},
                                  {Family::kJamba, "jamba", "JambaForCausalLM"},
                                  {Family::kMamba, "mamba", "MambaForCausalLM"},
                                  {Family::kMamba2, "mamba2", "Mamba2ForCausalLM"},
                                  {Family::kOpenElm, "openelm", "OpenELMForCausalLM"}};

const HfFamily* family_of(Family family) {
  for (const HfFamily& entry : kFamilies) {
    if (entry.family == family) return &entry;
  }
  return nullptr;
}

template <class V>
void family_members(V& v, ModelRecipe& m) {
  switch (m.family) {
    case Family::kLlama:
      return llama_members(v, m);
    case Family::kMixtral:
      return mixtral_members(v, m);
    case Family::kGpt2:
      return gpt2_members(v, m);
    case Family::kJamba:
      return jamba_members(v, m);
    case Family::kMamba:
      return mamba_members(v, m);
    case Family::kMamba2:
      return mamba2_members(v, m);
    case Family::kOpenElm:
      return openelm_members(v, m);
    case Family::kLayers:
    case Family::kHybrid:
      break;
  }
  WEFT_CHECK(false, "transformers has no family ", name_of(m.family));
}

Json written_members(ModelRecipe model) {
  MemberWriter writer;
  family_members(writer, model);
  return std::move(writer.json());
}

absl::Status all_problems(const std::string& name, const std::vector<std::string>& problems) {
  std::vector<std::string> lines;
  for (const std::string& problem : problems) lines.push_back(name + ": " + problem);
  return bad_input(absl::StrJoin(lines, "\n"));
}

absl::StatusOr<Family> find_family(const Json& json, const std::string& name) {
  const std::string* type = find_string(json, "model_type");
  std::vector<std::string> known;
  for (const HfFamily& entry : kFamilies) {
    if (type != nullptr && *type == entry.model_type) return entry.family;
    known.push_back(entry.model_type);
  }
  return bad_input(
      name, ": model_type: ", type == nullptr ? std::string("is missing") : "is '" + *type + "'",
      ", weft knows ", absl::StrJoin(known, ", "));
}

// Complaints of every single value out of the range that recipes allow.
class RangeVisitor {
 public:
  RangeVisitor(std::string prefix, std::vector<std::string>& problems)
      : prefix_(std::move(prefix)), problems_(problems) {}

  template <class T>
  void field(const char* name, T& value, const Check& check, const char*) {
    if constexpr (Described<T>) {
      RangeVisitor inner(prefix_ + name + ".", problems_);
      T::describe(value, inner);
    } else if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) {
      refuse(name, check.refuse(static_cast<double>(value)));
    } else if constexpr (std::is_same_v<T, Auto<int64_t>> || std::is_same_v<T, Auto<double>> ||
                         std::is_same_v<T, OrNone<int64_t>>) {
      if (value.has_value()) refuse(name, check.refuse(static_cast<double>(*value)));
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      for (const double item : value) refuse(name, check.refuse(item));
    }
  }
  template <class F>
  void when(bool applies, const char*, F&& fields) {
    if (applies) fields();
  }

 private:
  void refuse(const char* name, const std::string& reason) {
    if (!reason.empty()) problems_.push_back(prefix_ + name + ": " + reason);
  }
  const std::string prefix_;
  std::vector<std::string>& problems_;
};

RopeConfig used_rope(const RopeConfig& rope, int64_t head_dim) {
  RopeConfig used{.type = rope.type, .theta = rope.theta};
  switch (rope.type) {
    case RopeType::kNone:
      return {};
    case RopeType::kDefault:
      return used;
    case RopeType::kNtk: {
      const double e = static_cast<double>(head_dim);
      return {.type = RopeType::kDefault, .theta = rope.theta * std::pow(rope.factor, e / (e - 2))};
    }
    case RopeType::kLinear:
      used.factor = rope.factor;
      return used;
    case RopeType::kDynamic:
      used.factor = rope.factor;
      used.original_max_position = rope.original_max_position;
      return used;
    case RopeType::kLlama3:
    case RopeType::kYarn:
      return rope;
  }
  return used;
}

// The model without what changes no result: initial values, losses of training, chunk sizes, and
// which spelling a base of rotary positions has.
ModelConfig as_computed(const ModelRecipe& recipe) {
  ModelConfig config = build_config(recipe);
  config.init = {};
  config.residual_fp32 = false;
  for (LayerConfig& layer : config.layers) {
    if (auto* attention = std::get_if<AttentionConfig>(&layer.mixer)) {
      attention->rope = used_rope(attention->rope, attention->head_dim);
    } else if (auto* mamba = std::get_if<MambaConfig>(&layer.mixer)) {
      mamba->dt = {};
    } else {
      auto& mamba2 = std::get<Mamba2Config>(layer.mixer);
      mamba2.dt = {};
      mamba2.chunk_size = 0;
    }
    if (auto* moe = std::get_if<MoeConfig>(&layer.feed_forward)) {
      moe->aux_form = AuxForm::kHf;
      moe->aux_coef = moe->z_coef = 0;
    }
  }
  return config;
}

// The keys of a model whose values its copy `other` does not have.
std::vector<std::string> lost_keys(const ModelRecipe& model, const ModelRecipe& other) {
  const ModelConfig before = as_computed(model), after = as_computed(other);
  std::vector<std::string> lost;
  const auto compare = [&](const char* key, bool same) {
    if (!same) lost.push_back(std::string("model.") + key);
  };
  compare("norm", before.norm == after.norm);
  compare("learned_positions", before.learned_positions == after.learned_positions);
  compare("pad_token_id", before.padding_id == after.padding_id);
  compare("tie_embeddings", before.tie_embeddings == after.tie_embeddings);
  bool mixers = before.layers.size() == after.layers.size(), parts = mixers;
  for (size_t i = 0; mixers && parts && i < before.layers.size(); ++i) {
    mixers = before.layers[i].mixer == after.layers[i].mixer;
    parts = before.layers[i].feed_forward == after.layers[i].feed_forward;
  }
  compare("attention, rope.type, mamba, mamba2 or layerwise", mixers);
  compare("mlp, moe or layerwise", parts);
  return lost;
}

// What transformers has no model for although config.json could say it; empty: nothing.
std::string impossible_there(const ModelRecipe& model) {
  const bool llama = model.family == Family::kLlama;
  const bool even = llama || model.family == Family::kGpt2 || model.family == Family::kJamba;
  if (even && model.hidden_size % *model.num_heads != 0) {
    return absl::StrCat("a hidden_size (", model.hidden_size, ") that num_heads (",
                        *model.num_heads, ") does not divide, whatever head_dim is");
  }
  if (llama && *model.init.std > 1) {
    return absl::StrCat("an init.std (", *model.init.std, ") above 1");
  }
  return "";
}

}  // namespace

absl::StatusOr<Json> parse_python_json(const std::string& text) {
  std::string plain;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quoted && text[i] == '\\' && i + 1 < text.size()) {
      plain += text[i++];
      plain += text[i];
      continue;
    }
    quoted ^= text[i] == '"';
    const char* word = nullptr;
    for (const char* candidate : {"-Infinity", "Infinity", "NaN"}) {
      if (!quoted && text.compare(i, std::string_view(candidate).size(), candidate) == 0) {
        word = candidate;
        break;
      }
    }
    if (word == nullptr) {
      plain += text[i];
      continue;
    }
    plain += absl::StrCat("{\"__float__\":\"", word, "\"}");
    i += std::string_view(word).size() - 1;
  }
  return parse_json(plain, kConfigLimits);
}

absl::StatusOr<HfConfig> read_hf_config(const std::string& text, const std::string& name) {
  absl::StatusOr<Json> json = parse_python_json(text);
  if (!json.ok()) return in_context(json.status(), name);
  if (!json->is_object()) return bad_input(name, ": is no JSON object");
  HfConfig config;
  WEFT_ASSIGN_OR_RETURN(config.model.family, find_family(*json, name));
  MemberReader reader(*json);
  common_members(reader);
  family_members(reader, config.model);
  reader.refuse_unknown();
  if (!reader.problems().empty()) return all_problems(name, reader.problems());
  std::vector<std::string> impossible;
  RangeVisitor ranges("", impossible);
  ModelRecipe::describe(config.model, ranges);
  if (!impossible.empty()) return all_problems(name, impossible);
  resolve(config.model);
  Problems problems;
  validate(config.model, problems);
  for (const Problems::Problem& problem : problems.all()) {
    impossible.push_back(problem.path + ": " + problem.message);
  }
  if (!impossible.empty()) return all_problems(name, impossible);
  config.json = *std::move(json);
  config.warnings = reader.warnings();
  return config;
}

absl::Status check_exportable(const ModelRecipe& model) {
  if (family_of(model.family) == nullptr) {
    return bad_input("a model of family ", name_of(model.family),
                     " has no format in transformers: jamba, mamba, mamba2, llama, gpt2, mixtral "
                     "and openelm have");
  }
  const std::string no_place = absl::StrCat(
      "transformers' format of family ", std::string(name_of(model.family)), " has no place for ");
  const std::string impossible = impossible_there(model);
  if (!impossible.empty()) return bad_input(no_place, impossible);
  const absl::StatusOr<HfConfig> back =
      read_hf_config(write_hf_config(model, nullptr, "float32").dump(), "config.json");
  if (!back.ok()) return back.status();
  const std::vector<std::string> lost = lost_keys(model, back->model);
  if (lost.empty()) return absl::OkStatus();
  return bad_input(no_place, "what this model has in ", absl::StrJoin(lost, ", "));
}

Json write_hf_config(const ModelRecipe& model, const Json& source, const std::string& dtype) {
  const HfFamily& family = *family_of(model.family);
  const Json members = written_members(model);
  Json out = source.is_object() ? source : Json::object();
  bool same = false;
  if (source.is_object()) {
    const absl::StatusOr<HfConfig> read = read_hf_config(source.dump(), "config.json");
    same =
        read.ok() && read->model.family == model.family && written_members(read->model) == members;
  }
  if (!same) {
    for (const char* spelling : {"rope_parameters", "num_query_heads", "num_kv_heads"}) {
      out.erase(spelling);
    }
    for (const auto& [name, value] : members.items()) out[name] = value;
  }
  if (!out.contains("architectures")) out["architectures"] = {family.architecture};
  out["model_type"] = family.model_type;
  out[out.contains("dtype") ? "dtype" : "torch_dtype"] = dtype;
  return out;
}

}  // namespace weft
