#include "models/causal_lm.h"

#include <algorithm>
#include <memory>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/check.h"
#include "models/embedding.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/head_step.h"
#include "models/recompute.h"
#include "models/token_plan.h"

namespace weft {
namespace {

constexpr char kEmbedding[] = "embedding.weight";
constexpr char kPositions[] = "position_embedding.weight";
constexpr char kFinalNorm[] = "final_norm";

bool has_dynamic_rope(const ModelConfig& config) {
  return std::any_of(config.layers.begin(), config.layers.end(), [](const LayerConfig& layer) {
    const auto* attention = std::get_if<AttentionConfig>(&layer.mixer);
    return attention != nullptr && attention->rope.type == RopeType::kDynamic;
  });
}

// Ends the program unless `state` has a place for these tokens [Bz, T].
void check_room(const Tensor& tokens, const DecodingState& state) {
  WEFT_CHECK(tokens.size(0) == state.rows(), tokens.size(0), " rows of tokens for a state of ",
             state.rows());
  for (const int64_t length : state.lengths) {
    WEFT_CHECK(length + tokens.size(1) <= state.capacity, "a state for ", state.capacity,
               " tokens is full");
  }
}

// Of the balance loss that pools layers: they all have the same.
double pooled_coefficient(const ModelConfig& config) {
  for (const LayerConfig& layer : config.layers) {
    const auto* moe = std::get_if<MoeConfig>(&layer.feed_forward);
    if (moe != nullptr && moe->aux_form == AuxForm::kHf) return moe->aux_coef;
  }
  return 0;
}

// What blocks share, for as long as one of them may be computed again.
struct Shared {
  Documents documents;
  Rotations rotations;
  std::shared_ptr<HostStash> stash;  // of the inputs of blocks that are; null: they stay
};

// Adds to `stats` what the block's router reports.
Tensor recomputed_block(const Block& block, const Tensor& x, const std::shared_ptr<Shared>& shared,
                        Keep keep, RouterStats* stats) {
  const auto first = std::make_shared<RouterStats>();  // of the forward pass
  const auto run = [&block, shared, first, with_stats = stats != nullptr](const Tensor& input,
                                                                          Values values) {
    RouterStats own;
    std::vector<Tensor> outputs = {block.forward(
        input, {shared->documents, shared->rotations, with_stats ? &own : nullptr, values})};
    outputs.insert(outputs.end(), own.aux_sums.begin(), own.aux_sums.end());
    outputs.insert(outputs.end(), own.probability_sums.begin(), own.probability_sums.end());
    first->expert_counts = own.expert_counts;
    first->tokens = own.tokens;
    return outputs;
  };
  const std::vector<Tensor> outputs = recomputed(x, run, keep, shared->stash);
  if (outputs.size() > 1) stats->aux_sums.push_back(outputs[1]);
  if (outputs.size() > 2) stats->probability_sums.push_back(outputs[2]);
  if (!first->expert_counts.empty()) {
    stats->expert_counts.push_back(first->expert_counts[0]);
    stats->tokens = first->tokens;
  }
  return outputs[0];
}

}  // namespace

ParameterTable parameter_table(const ModelConfig& config) {
  ParameterTable table;
  const Initializer init = initial_embedding(config);
  // The lookup's gradient sums many tokens into one row, so it is kept in the master's type; a head
  // that is tied to it multiplies in the recipe's.
  table.add({.name = kEmbedding,
             .shape = {config.vocab_size, config.hidden_size},
             .sharding = {0, MeshAxis::kTensor},
             .init = init,
             .compute = config.tie_embeddings ? ComputeType::kBoth : ComputeType::kMaster});
  if (config.learned_positions > 0) {
    table.add({.name = kPositions,
               .shape = {config.learned_positions, config.hidden_size},
               .sharding = {},
               .init = init,
               .compute = ComputeType::kMaster});
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    Block::declare(config, static_cast<int64_t>(i), table);
  }
  Norm::declare(config.norm, kFinalNorm, config.hidden_size, table);
  if (!config.tie_embeddings) {
    table.add({.name = kHeadWeight,
               .shape = {config.vocab_size, config.hidden_size},
               .sharding = {0, MeshAxis::kTensor},
               .init = initial_linear(config, Projection::kInto, config.hidden_size)});
  }
  return table;
}

CausalLM::CausalLM(const ModelConfig& config, const ParameterStore& store,
                   const MemoryConfig& memory)
    : config_(config),
      types_(store.types()),
      memory_(memory),
      embedding_(store.compute(kEmbedding)),
      final_norm_(config.norm, store, kFinalNorm),
      head_(store.narrow(config.tie_embeddings ? kEmbedding : kHeadWeight)),
      embedding_gradient_(store.gradient(kEmbedding)),
      head_gradient_(config.tie_embeddings ? embedding_gradient_ : store.gradient(kHeadWeight)) {
  if (config.learned_positions > 0) position_embedding_ = store.compute(kPositions);
  blocks_.reserve(config.layers.size());
  for (size_t i = 0; i < config.layers.size(); ++i) {
    blocks_.emplace_back(config, static_cast<int64_t>(i), memory.mini_sequences, store);
  }
}

Tensor CausalLM::embed(const Tensor& tokens, const Tensor& positions) const {
  Tensor x = embedding_lookup(embedding_, tokens, config_.padding_id, embedding_gradient_);
  if (position_embedding_.defined()) x = x + at::embedding(position_embedding_, positions);
  return config_.residual_fp32 ? x : x.to(types_.compute);
}

Tensor CausalLM::hidden(const Tensor& tokens, const Documents& documents,
                        RouterStats* stats) const {
  const Tensor lengths = has_dynamic_rope(config_) ? documents.lengths() : Tensor{};
  const auto shared =
      std::make_shared<Shared>(Shared{documents, Rotations(documents.positions, lengths),
                                      memory_.offload ? std::make_shared<HostStash>() : nullptr});
  const Keep keep = memory_.recompute == Recompute::kSelective ? Keep::kProducts : Keep::kNothing;
  Tensor x = embed(tokens, documents.positions);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const bool differentiable = at::GradMode::is_enabled() && x.requires_grad();
    x = differentiable && memory_.recomputes(i)
            ? recomputed_block(blocks_[i], x, shared, keep, stats)
            : blocks_[i].forward(x, {shared->documents, shared->rotations, stats});
  }
  return final_norm_(x, types_.compute);
}

DecodingState CausalLM::new_state(int64_t rows, int64_t capacity) const {
  return new_decoding_state(config_, rows, capacity, types_.compute, types_.device);
}

Tensor CausalLM::next_logits(const Tensor& tokens, DecodingState& state) const {
  const at::NoGradGuard no_grad;
  check_room(tokens, state);
  if (TokenPlan* plan = plan_of(tokens, state)) return plan->logits(tokens, state);
  const Tensor x = advance(tokens, state);
  const Tensor last = x.select(1, x.size(1) - 1).contiguous();  // [Bz, d]
  if (final_norm_.can_decode(last, types_.compute)) {
    return head_step(final_norm_.rms_weights(), head_, last);
  }
  const Tensor logits = Linear(head_)(final_norm_(last, types_.compute));
  return logits.to(wide_type(types_.compute));
}

Tensor CausalLM::extend(const Tensor& tokens, DecodingState& state) const {
  const at::NoGradGuard no_grad;
  check_room(tokens, state);
  TokenPlan* const plan = plan_of(tokens, state);
  const Tensor x = plan != nullptr ? plan->advance(tokens, state) : advance(tokens, state);
  return final_norm_(x, types_.compute);
}

Tensor CausalLM::advance(const Tensor& tokens, DecodingState& state) const {
  const int64_t rows = tokens.size(0), count = tokens.size(1);
  const Tensor positions = next_positions(state.lengths, count).to(types_.device);
  std::vector<int64_t> after = state.lengths;
  for (int64_t& length : after) length += count;
  const Tensor lengths = has_dynamic_rope(config_)
                             ? next_positions(after, 1).to(types_.device).expand({rows, count})
                             : Tensor{};
  NewTokens pass{
      .count = count,
      .lengths = state.lengths,
      .starts = at::zeros({rows, count}, at::TensorOptions(at::kBool).device(types_.device)),
      .rotations = Rotations(positions, lengths, &state.frequencies)};
  Tensor x = embed(tokens, positions);
  for (size_t i = 0; i < blocks_.size(); ++i) blocks_[i].extend(pass, state.layers[i], x);
  state.lengths = std::move(after);
  return x;
}

TokenPlan* CausalLM::plan_of(const Tensor& tokens, DecodingState& state) const {
  if (tokens.size(1) != 1 || !tokens.is_cpu() || position_embedding_.defined()) return nullptr;
  const TokenPlan::Parts parts = {
      .embedding = embedding_,
      .blocks = blocks_,
      .final_norm = final_norm_,
      .head = head_,
      .stream = config_.residual_fp32 ? embedding_.scalar_type() : types_.compute};
  if (state.plan == nullptr || !state.plan->fits(parts, state)) {
    state.plan = TokenPlan::make(parts, state);
  }
  return state.plan.get();
}

Tensor CausalLM::head(const Tensor& hidden) const { return head_logits(hidden, head_); }

Tensor CausalLM::logits(const Tensor& tokens, const Documents& documents) const {
  return head(hidden(tokens, documents, nullptr));
}

LossTerms CausalLM::loss(const Tensor& tokens, const Tensor& targets, const Documents& documents,
                         const LossWeights& weights) const {
  RouterStats stats;
  const Tensor x = hidden(tokens, documents, &stats).reshape({-1, config_.hidden_size});
  const int64_t rows = head_rows(memory_.mini_sequences, x.size(0), config_.hidden_size,
                                 config_.vocab_size, c10::elementSize(types_.compute));
  const HeadLoss head = head_loss(x, head_, targets.reshape(-1), weights, rows, head_gradient_);
  LossTerms terms;
  terms.loss = head.loss;
  terms.nll_sum = head.nll_sum;
  terms.penalty_sum = head.penalty_sum;
  terms.aux_sum = at::zeros({}, terms.nll_sum.options());
  for (const Tensor& aux : stats.aux_sums) terms.aux_sum = terms.aux_sum + aux.to(at::kDouble);
  if (!stats.probability_sums.empty()) {
    terms.pooled_balance = pooled_balance_loss(stats);
    terms.aux_sum = terms.aux_sum + terms.pooled_balance.to(at::kDouble) *
                                        (pooled_coefficient(config_) * tokens.size(0));
  }
  terms.expert_counts = std::move(stats.expert_counts);
  return terms;
}

}  // namespace weft
