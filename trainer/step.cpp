#include "trainer/step.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>

#include "optim/clip.h"

namespace weft {
namespace {

// max / mean of each layer's expert counts, summed over the micro-batches.
std::vector<double> expert_load(const std::vector<Tensor>& counts) {
  std::vector<double> load;
  for (const Tensor& layer : counts) {
    const double mean = layer.sum().item<double>() / static_cast<double>(layer.numel());
    load.push_back(mean > 0 ? layer.max().item<double>() / mean : 1.0);
  }
  return load;
}

}  // namespace

StepResult compute_gradients(const CausalLM& model, ParameterStore& store,
                             const std::vector<Batch>& micro_batches, const Penalties& penalties,
                             double clip_norm) {
  StepResult result;
  int64_t sequences = 0;
  for (const Batch& batch : micro_batches) {
    result.targets += batch.num_targets;
    sequences += batch.tokens.size(0);
  }
  const double per_target = 1.0 / static_cast<double>(std::max<int64_t>(1, result.targets));
  const double per_sequence = 1.0 / static_cast<double>(std::max<int64_t>(1, sequences));
  const at::Device device = store.types().device;
  std::vector<Tensor> counts;
  for (const Batch& batch : micro_batches) {
    const LossTerms terms =
        model.loss(batch.tokens.to(device), batch.targets.to(device),
                   Documents::from_ids(batch.documents, device), {per_target, penalties});
    const Tensor loss = terms.loss + terms.aux_sum * per_sequence;
    loss.backward();
    store.check_gradients();
    result.loss += terms.nll_sum.item<double>() * per_target;
    result.penalty += terms.penalty_sum.item<double>() * per_target;
    result.aux_loss += terms.aux_sum.item<double>() * per_sequence;
    if (counts.empty()) {
      counts = terms.expert_counts;
    } else {
      for (size_t i = 0; i < counts.size(); ++i) counts[i] = counts[i] + terms.expert_counts[i];
    }
  }
  result.expert_load = expert_load(counts);
  result.grad_norm = gradient_norm(store);
  result.clip_factor = clip_factor(result.grad_norm, clip_norm);
  return result;
}

}  // namespace weft
