#include "models/moe.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>

#include "base/check.h"
#include "models/kernels/silu_mul.h"
#include "models/kernels/swiglu_step.h"
#include "models/recompute.h"

namespace weft {

void Moe::declare(const ModelConfig& model, const MoeConfig& c, const std::string& prefix,
                  ParameterTable& table) {
  const int64_t d = model.hidden_size, f = c.intermediate_size;
  const auto expert_row = [&](const char* name, int64_t out, int64_t in, Projection projection) {
    table.add({.name = prefix + ".experts." + name + ".weight",
               .shape = {c.num_experts, out, in},
               .sharding = {0, MeshAxis::kExpert},
               .init = initial_linear(model, projection, in),
               .active_share = static_cast<double>(c.top_k) / static_cast<double>(c.num_experts)});
  };
  table.add({.name = prefix + ".router.weight",
             .shape = {c.num_experts, d},
             .sharding = {},
             .init = initial_linear(model, Projection::kInto, d),
             .compute = ComputeType::kMaster});
  expert_row("gate", f, d, Projection::kInto);
  expert_row("up", f, d, Projection::kInto);
  expert_row("down", d, f, Projection::kBack);
}

Moe::Moe(const MoeConfig& config, const MiniSequences& mini_sequences, const ParameterStore& store,
         const std::string& prefix)
    : config_(config),
      mini_sequences_(mini_sequences),
      router_(store.compute(prefix + ".router.weight")),
      gate_(store, prefix + ".experts.gate.weight"),
      up_(store, prefix + ".experts.up.weight"),
      down_(store, prefix + ".experts.down.weight") {}

Routing route(const Tensor& logits, int64_t top_k, bool renormalize) {
  Routing routing;
  routing.probabilities = logits.softmax(-1);
  const auto [sorted, ranking] =
      routing.probabilities.sort(/*stable=*/true, /*dim=*/-1, /*descending=*/true);
  routing.experts = std::get<0>(ranking.narrow(-1, 0, top_k).sort(-1));
  routing.weights = routing.probabilities.gather(-1, routing.experts);
  if (renormalize) routing.weights = routing.weights / routing.weights.sum(-1, /*keepdim=*/true);
  return routing;
}

Tensor balance_loss_sum(const Routing& routing, int64_t rows, double coef) {
  const int64_t num_experts = routing.probabilities.size(-1);
  const Tensor p = routing.probabilities.reshape({rows, -1, num_experts});
  const Tensor chosen = at::one_hot(routing.experts.reshape({rows, -1}), num_experts);
  const Tensor f = chosen.to(p.scalar_type()).mean(1);  // [rows, E], sums to 1 a row
  return (f * p.mean(1)).sum() * (coef * static_cast<double>(num_experts));
}

Tensor router_z_loss_sum(const Tensor& logits, int64_t rows, double coef) {
  return logits.logsumexp({-1}).square().reshape({rows, -1}).mean(1).sum() * coef;
}

Tensor pooled_balance_loss(const RouterStats& stats) {
  WEFT_CHECK(!stats.probability_sums.empty(), "no layer to balance");
  Tensor assignments, probabilities;
  for (size_t i = 0; i < stats.probability_sums.size(); ++i) {
    const Tensor& sum = stats.probability_sums[i];
    const Tensor count = stats.expert_counts[i].to(sum.device()).to(sum.scalar_type());
    assignments = i == 0 ? count : assignments + count;
    probabilities = i == 0 ? sum : probabilities + sum;
  }
  const double n = static_cast<double>(stats.tokens) * stats.probability_sums.size();
  return (assignments / n * (probabilities / n)).sum() * assignments.numel();
}

void Moe::report(const Tensor& logits, const Routing& routing, const Tensor& counts, int64_t rows,
                 RouterStats& stats) const {
  Tensor aux = router_z_loss_sum(logits, rows, config_.z_coef);
  if (config_.aux_form == AuxForm::kSwitch) {
    aux = aux + balance_loss_sum(routing, rows, config_.aux_coef);
  } else if (config_.aux_coef > 0) {
    stats.probability_sums.push_back(routing.probabilities.sum(0));
  }
  stats.aux_sums.push_back(aux);
  stats.expert_counts.push_back(counts);
  stats.tokens = logits.size(0);
}

// tokens [n, d] -> each token's weighted sum over its experts [n, d], in ascending order of expert
// and in the router's precision.
Tensor Moe::grouped_experts(const Tensor& tokens, const Routing& routing,
                            const ExpertRows& plan) const {
  const auto experts = [gate = gate_, up = up_, down = down_, groups = plan.groups](
                           const Tensor& x, int64_t first, Values values) {
    const RowGroups here = groups.part(first, x.size(0));
    return down(silu_mul(gate(x, here), up(x, here)), here, values);
  };
  const Tensor inputs = to_experts(tokens, plan);
  const int64_t n = tokens.size(0) * config_.top_k;
  const int64_t slice = mlp_rows(mini_sequences_, n, tokens.size(1), config_.intermediate_size);
  const Tensor outputs =
      slice < n ? in_slices(inputs, slice, experts) : experts(inputs, 0, Values::kWanted);
  return from_experts(outputs, routing.weights, plan);
}

Tensor Moe::forward(const Tensor& x, RouterStats* stats) const {
  const Tensor tokens = x.reshape({-1, x.size(2)});                         // [n, d]
  const Tensor logits = Linear(router_)(tokens.to(router_.scalar_type()));  // [n, E]
  const Routing routing = route(logits, config_.top_k, config_.renormalize);
  const ExpertRows plan =
      expert_rows(routing.experts.detach(), config_.num_experts, kExpertRowMultiple);
  if (stats != nullptr && tokens.size(0) > 0) {
    report(logits, routing, plan.counts, x.size(0), *stats);
  }
  return grouped_experts(tokens, routing, plan).reshape(x.sizes());
}

cpu::StagedWorkPtr Moe::decoding_work(const RmsNormWeights& norm, const Tensor& x,
                                      cpu::Scratch& scratch) const {
  return swiglu_work({.norm = norm,
                      .gate = gate_.weight,
                      .up = up_.weight,
                      .down = down_.weight,
                      .gate_bias = {},
                      .up_bias = {},
                      .down_bias = {},
                      .router = router_,
                      .choice = {.experts = config_.num_experts,
                                 .top_k = config_.top_k,
                                 .renormalize = config_.renormalize}},
                     x, scratch);
}

}  // namespace weft
