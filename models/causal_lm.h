#pragma once
// The one model: embedding, a list of layers, final norm, head and loss. Read first in this folder;
// then block.h, attention.h, mamba.h, mlp.h, moe.h, head.h. What a family is, is in families.h.
//
//   ParameterTable table = parameter_table(config);           // nothing is allocated
//   ParameterStore store(table, types);
//   store.initialize(seed);
//   CausalLM model(config, store);
//   LossTerms terms = model.loss(tokens, targets, documents, {.target = 1.0 / all_targets});
#include <vector>

#include "base/tensor.h"
#include "models/block.h"
#include "models/config.h"
#include "models/decoding_state.h"
#include "models/documents.h"
#include "models/head.h"
#include "models/memory_config.h"
#include "parallel/parameter_store.h"

namespace weft {

inline constexpr char kHeadWeight[] = "head.weight";  // where it is not tied

// Every parameter of the model, in the order of the forward pass.
ParameterTable parameter_table(const ModelConfig& config);

// What a forward pass over some rows gives to the step (spec/parallel.md 3.1, 9.4).
struct LossTerms {
  Tensor loss;         // [] fp64: weights.target * (nll_sum + penalty_sum), with its gradient
  Tensor nll_sum;      // [] fp64: sum of the targets' negative log-likelihoods, in nats
  Tensor penalty_sum;  // [] fp64: what z-loss and label smoothing add to it
  Tensor aux_sum;      // [] fp64: coef-weighted auxiliary losses, summed over layers and sequences
  Tensor pooled_balance;  // [] the pooled balance loss without its coefficient (AuxForm::kHf), or
                          // undefined; aux_sum has it weighted, once a sequence
  std::vector<Tensor> expert_counts;  // per MoE layer [E] int64: assignments to each expert
};

class CausalLM final {
 public:
  // Holds the store's compute values; `store` must outlive the model.
  // Gradients need the model until the backward pass has ended, where layers are computed again.
  CausalLM(const ModelConfig& config, const ParameterStore& store, const MemoryConfig& memory = {});

  // tokens [Bz, T] int64 -> hidden states [Bz, T, d] after the final norm.
  Tensor hidden(const Tensor& tokens, const Documents& documents, RouterStats* stats) const;
  // hidden [.., d] after the final norm -> logits [.., V] in fp32 (fp64). Not to be trained through
  // in bf16, where its weight's gradient would stay on a copy (ParameterStore::check_gradients):
  // that is what loss() is for.
  Tensor head(const Tensor& hidden) const;
  // tokens [Bz, T] -> logits [Bz, T, V] in fp32 (fp64).
  Tensor logits(const Tensor& tokens, const Documents& documents) const;
  // A state for `rows` rows of at most `capacity` tokens, of which none has been seen.
  DecodingState new_state(int64_t rows, int64_t capacity) const;
  // Hidden states [Bz, T, d] of the next tokens [Bz, T] of rows that go on from `state`, which then
  // has them too. No gradients. REQUIRES: T = 1, or rows of equal lengths; T more tokens fit.
  Tensor extend(const Tensor& tokens, DecodingState& state) const;
  // As extend, but gives the logits [Bz, V] of what follows the last token, in fp32 (fp64).
  Tensor next_logits(const Tensor& tokens, DecodingState& state) const;
  // targets [Bz, T] int64, negative where ignored. Where the store keeps gradients, and they are
  // enabled, the head's is added to it at once. REQUIRES then: `loss` is differentiated, with a
  // weight of 1.
  LossTerms loss(const Tensor& tokens, const Tensor& targets, const Documents& documents,
                 const LossWeights& weights = {}) const;

  const ModelConfig& config() const { return config_; }

 private:
  ModelConfig config_;
  Tensor embed(const Tensor& tokens, const Tensor& positions) const;
  // The residual stream [Bz, T, d] behind the last layer; otherwise extend. For what has no plan:
  // many tokens, a GPU, LayerNorm, Mamba-2, activations other than SwiGLU, rope `dynamic`.
  Tensor advance(const Tensor& tokens, DecodingState& state) const;
  // The state's plan, a new one where it doesn't fit; null if these are not single tokens, or there
  // are no kernels for them.
  TokenPlan* plan_of(const Tensor& tokens, DecodingState& state) const;

  StoreTypes types_;
  MemoryConfig memory_;
  Tensor embedding_;           // [V, d]
  Tensor position_embedding_;  // [positions, d], undefined without learned positions
  Norm final_norm_;
  Tensor head_;  // [V, d] in the compute type; when tied the embedding, or its copy
  Tensor embedding_gradient_, head_gradient_;  // of the store; undefined if it keeps none
  std::vector<Block> blocks_;
};

}  // namespace weft
