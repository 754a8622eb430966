#include "models/causal_lm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/zeros.h>

#include "models/head.h"
#include "models/norm.h"

namespace weft {
namespace {

constexpr char kEmbedding[] = "embedding.weight";
constexpr char kFinalNorm[] = "final_norm.weight";
constexpr char kHead[] = "head.weight";

}  // namespace

ParameterTable parameter_table(const ModelConfig& config) {
  ParameterTable table;
  const Initializer normal{.kind = Initializer::Kind::kNormal, .a = config.init.std};
  // The lookup's gradient sums many tokens into one row, so it is kept in the master's type.
  table.add({.name = kEmbedding,
             .shape = {config.vocab_size, config.hidden_size},
             .sharding = {0, MeshAxis::kTensor},
             .init = normal,
             .compute = ComputeType::kMaster});
  for (size_t i = 0; i < config.layers.size(); ++i) {
    Block::declare(config, static_cast<int64_t>(i), table);
  }
  table.add(norm_weight(kFinalNorm, config.hidden_size));
  if (!config.tie_embeddings) {
    table.add({.name = kHead,
               .shape = {config.vocab_size, config.hidden_size},
               .sharding = {0, MeshAxis::kTensor},
               .init = normal});
  }
  return table;
}

CausalLM::CausalLM(const ModelConfig& config, const ParameterStore& store)
    : config_(config),
      compute_type_(store.types().compute),
      embedding_(store.compute(kEmbedding)),
      final_norm_(store.compute(kFinalNorm)),
      head_(config.tie_embeddings ? embedding_ : store.compute(kHead)) {
  blocks_.reserve(config.layers.size());
  for (size_t i = 0; i < config.layers.size(); ++i) {
    blocks_.emplace_back(config, static_cast<int64_t>(i), store);
  }
}

Tensor CausalLM::hidden(const Tensor& tokens, const Documents& documents,
                        RouterStats* stats) const {
  Tensor x = at::embedding(embedding_, tokens).to(compute_type_);
  for (const Block& block : blocks_) x = block.forward(x, documents, stats);
  return rms_norm(x, final_norm_, config_.norm_eps);
}

Tensor CausalLM::head(const Tensor& hidden) const { return head_logits(hidden, head_); }

Tensor CausalLM::logits(const Tensor& tokens, const Documents& documents) const {
  return head(hidden(tokens, documents, nullptr));
}

LossTerms CausalLM::loss(const Tensor& tokens, const Tensor& targets,
                         const Documents& documents) const {
  RouterStats stats;
  const Tensor logits = head(hidden(tokens, documents, &stats));
  LossTerms terms;
  terms.nll_sum = token_nll(logits, targets).to(at::kDouble).sum();
  terms.aux_sum = at::zeros({}, terms.nll_sum.options());
  for (const Tensor& aux : stats.aux_sums) terms.aux_sum = terms.aux_sum + aux.to(at::kDouble);
  terms.expert_counts = std::move(stats.expert_counts);
  return terms;
}

}  // namespace weft
