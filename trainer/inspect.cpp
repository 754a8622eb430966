#include "trainer/inspect.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "base/json.h"
#include "models/head.h"
#include "models/huggingface/config.h"
#include "models/huggingface/export.h"

namespace weft {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr JsonLimits kLimits = {.depth = 2, .values = size_t{1} << 26};
constexpr int64_t kIgnored = -100;

Tensor as_row(const std::vector<int64_t>& ids, at::Device device) {
  return at::tensor(ids, at::kLong).unsqueeze(0).to(device);
}

// The next token at each place, none at the last.
std::vector<int64_t> targets_of(const std::vector<int64_t>& ids) {
  std::vector<int64_t> targets(ids.begin() + 1, ids.end());
  targets.push_back(kIgnored);
  return targets;
}

// All sequences in one row, each a document.
struct Packed {
  std::vector<int64_t> tokens, targets;
  std::vector<int32_t> documents;
  int64_t num_targets = 0;
};

Packed pack(const TokenLists& sequences) {
  Packed packed;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::vector<int64_t>& ids = sequences[i];
    const std::vector<int64_t> targets = targets_of(ids);
    packed.tokens.insert(packed.tokens.end(), ids.begin(), ids.end());
    packed.targets.insert(packed.targets.end(), targets.begin(), targets.end());
    packed.documents.insert(packed.documents.end(), ids.size(), static_cast<int32_t>(i));
    packed.num_targets += static_cast<int64_t>(ids.size()) - 1;
  }
  return packed;
}

Tensor scalar(const Tensor& value) { return value.detach().to(at::kFloat).cpu().reshape({}); }

struct SequenceLogits {
  Tensor logits;  // [T, V]
  Tensor loss;    // []
};

SequenceLogits compute_sequence(const LoadedModel& model, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  const at::Device device = model.runtime.types.device;
  const auto length = static_cast<int64_t>(ids.size());
  const Tensor logits =
      model.model->logits(as_row(ids, device), Documents::whole_rows(1, length, device));
  const Tensor nll = token_nll(logits, as_row(targets_of(ids), device)).to(at::kDouble).sum();
  return {logits[0].to(at::kFloat).cpu(),
          scalar(nll / static_cast<double>(std::max<int64_t>(1, length - 1)))};
}

std::vector<NamedTensor> named_gradients(const LoadedModel& model) {
  std::vector<NamedTensor> named;
  if (!check_exportable(model.recipe).ok()) {
    for (const Parameter& p : model.store->parameters()) {
      named.push_back({p.spec->name, p.gradient.to(at::kFloat).cpu()});
    }
    return named;
  }
  std::map<std::string, const Parameter*> by_name;
  for (const Parameter& p : model.store->parameters()) by_name[p.spec->name] = &p;
  for (const HfTensor& tensor : hf_tensors(model.recipe.family, *model.table)) {
    std::vector<Tensor> parts;
    for (const HfPart& part : tensor.parts) {
      const Tensor& whole = by_name.at(part.name)->gradient;
      parts.push_back((part.expert < 0 ? whole : whole[part.expert]).to(at::kFloat).cpu());
    }
    named.push_back({tensor.name, compose_hf_tensor(tensor, parts)});
  }
  return named;
}

}  // namespace

absl::StatusOr<TokenLists> parse_token_lists(const std::string& text, const std::string& name,
                                             int64_t vocab_size) {
  const absl::StatusOr<Json> json = parse_json(text, kLimits);
  if (!json.ok()) return in_context(json.status(), name);
  if (!json->is_array() || json->empty()) {
    return bad_input(name, ": must be a list of lists of token ids, such as [[1, 2, 3], [7]]");
  }
  TokenLists lists;
  for (size_t i = 0; i < json->size(); ++i) {
    const Json& list = (*json)[i];
    if (!list.is_array() || list.empty()) {
      return bad_input(name, ": list ", i, ": must be a list of at least one token id");
    }
    lists.emplace_back();
    for (size_t j = 0; j < list.size(); ++j) {
      const std::optional<int64_t> id = as_count(list[j]);
      if (!id.has_value() || *id >= vocab_size) {
        return bad_input(name, ": list ", i, ": element ", j, " is ", list[j].dump(),
                         ", must be a token id from 0 to ", vocab_size - 1);
      }
      lists.back().push_back(*id);
    }
  }
  return lists;
}

absl::StatusOr<TokenLists> read_token_lists(const fs::path& path, int64_t vocab_size) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxFileBytes));
  return parse_token_lists(text, path.string(), vocab_size);
}

absl::Status check_lengths(const LoadedModel& model, const TokenLists& sequences,
                           const std::string& name) {
  const int64_t limit = model.model->config().learned_positions;
  for (size_t i = 0; limit > 0 && i < sequences.size(); ++i) {
    const auto length = static_cast<int64_t>(sequences[i].size());
    if (length > limit) {
      return bad_input(name, ": list ", i, ": has ", length,
                       " tokens, the model has positions for ", limit);
    }
  }
  return absl::OkStatus();
}

std::vector<TensorSource> logit_sources(
    const LoadedModel& model, const TokenLists& sequences,
    const std::function<void(int64_t done, int64_t total)>& progress) {
  const auto total = static_cast<int64_t>(sequences.size());
  const auto losses = std::make_shared<std::map<int64_t, Tensor>>();  // of what has been computed
  const auto compute = [&model, &sequences, progress, total, losses](int64_t i) {
    SequenceLogits result = compute_sequence(model, sequences[static_cast<size_t>(i)]);
    losses->insert_or_assign(i, result.loss);
    if (progress) progress(static_cast<int64_t>(losses->size()), total);
    return std::move(result.logits);
  };
  std::vector<TensorSource> sources;
  for (int64_t i = 0; i < total; ++i) {
    const auto length = static_cast<int64_t>(sequences[static_cast<size_t>(i)].size());
    sources.push_back({absl::StrCat("logits.", i),
                       at::kFloat,
                       {length, model.model->config().vocab_size},
                       [compute, i] { return absl::StatusOr<Tensor>(compute(i)); }});
    sources.push_back({absl::StrCat("loss.", i), at::kFloat, {}, [compute, losses, i] {
                         if (!losses->contains(i)) compute(i);
                         return absl::StatusOr<Tensor>(losses->at(i));
                       }});
  }
  return sources;
}

namespace {

// With the loss that transformers trains with, whatever a run has used: its balance loss pools all
// layers, and there is no z-loss.
ModelConfig with_reference_loss(ModelConfig config) {
  for (LayerConfig& layer : config.layers) {
    if (auto* moe = std::get_if<MoeConfig>(&layer.feed_forward)) {
      moe->aux_form = AuxForm::kHf;
      moe->z_coef = 0;
    }
  }
  return config;
}

}  // namespace

std::vector<NamedTensor> compute_gradients(LoadedModel& model, const TokenLists& sequences) {
  const at::Device device = model.runtime.types.device;
  const Packed packed = pack(sequences);
  const Documents documents =
      Documents::from_ids(at::tensor(packed.documents, at::kInt).unsqueeze(0), device);
  model.store->clear_gradients();
  const CausalLM reference(with_reference_loss(model.model->config()), *model.store);
  const double per_target = 1.0 / static_cast<double>(std::max<int64_t>(1, packed.num_targets));
  const LossTerms terms = reference.loss(as_row(packed.tokens, device),
                                         as_row(packed.targets, device), documents, {per_target});
  const Tensor loss = terms.loss + terms.aux_sum;
  loss.backward();
  model.store->check_gradients();
  std::vector<NamedTensor> named = named_gradients(model);
  named.push_back({"loss", scalar(loss)});
  named.push_back({"aux", terms.pooled_balance.defined() ? scalar(terms.pooled_balance)
                                                         : at::zeros({}, at::kFloat)});
  return named;
}

}  // namespace weft
