#include "models/moe.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <torch/csrc/autograd/custom_function.h>

#include "models/linear.h"

namespace weft {
namespace {

// y[i] = x[index[i]] for a permutation of the rows; the gradient is the inverse permutation, so
// nothing is accumulated.
class PermuteRows final : public torch::autograd::Function<PermuteRows> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& index,
                        const Tensor& inverse) {
    ctx->save_for_backward({inverse});
    return x.index_select(0, index);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    return {grads[0].index_select(0, ctx->get_saved_variables()[0]), {}, {}};
  }
};

// The assignments sorted by (expert, token).
struct Dispatch {
  Tensor order;    // [n k] position in the sorted list -> assignment token * k + slot
  Tensor inverse;  // [n k] the other way
  Tensor counts;   // [E] int64 on the CPU
};

Dispatch dispatch(const Tensor& experts, int64_t num_experts) {
  const Tensor flat = experts.reshape(-1);
  Dispatch result;
  result.order = at::argsort(flat, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  result.inverse = at::empty_like(result.order);
  result.inverse.scatter_(0, result.order, at::arange(flat.numel(), flat.options()));
  result.counts = at::bincount(flat, /*weights=*/{}, num_experts).cpu();
  return result;
}

}  // namespace

void Moe::declare(const ModelConfig& model, const MoeConfig& c, const std::string& prefix,
                  ParameterTable& table) {
  const int64_t d = model.hidden_size, f = c.intermediate_size;
  const auto normal = [&](Projection projection) {
    return Initializer{.kind = Initializer::Kind::kNormal,
                       .a = initial_deviation(model, projection)};
  };
  const auto expert_row = [&](const char* name, int64_t out, int64_t in, Projection projection) {
    table.add({.name = prefix + ".experts." + name + ".weight",
               .shape = {c.num_experts, out, in},
               .sharding = {0, MeshAxis::kExpert},
               .init = normal(projection),
               .active_share = static_cast<double>(c.top_k) / static_cast<double>(c.num_experts)});
  };
  table.add({.name = prefix + ".router.weight",
             .shape = {c.num_experts, d},
             .sharding = {},
             .init = normal(Projection::kInto),
             .compute = ComputeType::kMaster});
  expert_row("gate", f, d, Projection::kInto);
  expert_row("up", f, d, Projection::kInto);
  expert_row("down", d, f, Projection::kBack);
}

Moe::Moe(const MoeConfig& config, const ParameterStore& store, const std::string& prefix)
    : config_(config),
      router_(store.compute(prefix + ".router.weight")),
      gate_(store.compute(prefix + ".experts.gate.weight")),
      up_(store.compute(prefix + ".experts.up.weight")),
      down_(store.compute(prefix + ".experts.down.weight")) {}

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

Tensor Moe::forward(const Tensor& x, RouterStats* stats) const {
  const int64_t rows = x.size(0), d = x.size(2), k = config_.top_k;
  const Tensor tokens = x.reshape({-1, d});  // [n, d]
  const int64_t n = tokens.size(0);
  const Tensor logits = at::linear(tokens.to(router_.scalar_type()), router_);  // [n, E]
  const Routing routing = route(logits, k, config_.renormalize);
  const Dispatch plan = dispatch(routing.experts.detach(), config_.num_experts);
  if (stats != nullptr && n > 0) {
    stats->aux_sums.push_back(balance_loss_sum(routing, rows, config_.aux_coef) +
                              router_z_loss_sum(logits, rows, config_.z_coef));
    stats->expert_counts.push_back(plan.counts);
  }

  const Tensor copies = tokens.unsqueeze(1).expand({n, k, d}).reshape({n * k, d});
  const Tensor sorted = PermuteRows::apply(copies, plan.order, plan.inverse);
  const auto* counts = plan.counts.const_data_ptr<int64_t>();
  const std::vector<int64_t> sizes(counts, counts + config_.num_experts);
  const std::vector<Tensor> inputs = sorted.split_with_sizes(sizes);
  const std::vector<Tensor> gates = gate_.unbind(), ups = up_.unbind(), downs = down_.unbind();
  std::vector<Tensor> outputs;
  outputs.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor hidden = at::silu(at::linear(inputs[i], gates[i])) * at::linear(inputs[i], ups[i]);
    outputs.push_back(at::linear(hidden, downs[i]));
  }
  const Tensor by_token = PermuteRows::apply(at::cat(outputs), plan.inverse, plan.order);
  // A token's k results are summed in ascending order of expert, in the router's precision.
  const Tensor weighted =
      by_token.reshape({n, k, d}).to(logits.scalar_type()) * routing.weights.unsqueeze(-1);
  return weighted.sum(1).to(x.scalar_type()).reshape(x.sizes());
}

}  // namespace weft
