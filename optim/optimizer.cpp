#include "optim/optimizer.h"

#include "absl/strings/str_cat.h"
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

namespace weft {

void validate(const OptimConfig& config, Problems& problems) {
  if (config.betas.size() != 2) {
    problems.add("betas", absl::StrCat("has ", config.betas.size(),
                                       " values, must have two: [beta1, beta2]"));
  }
}

Optimizer::Optimizer(const OptimConfig& config, ParameterStore& store)
    : config_(config), store_(store) {
  for (const Parameter& p : store.parameters()) {
    m_.push_back(at::zeros_like(p.gradient));
    v_.push_back(at::zeros_like(p.gradient));
  }
}

void Optimizer::update(int64_t step, double lr) {
  const at::NoGradGuard no_grad;
  // The kernel reads the number of the update from a tensor a parameter.
  const Tensor number = at::full({}, static_cast<double>(step + 1),
                                 at::TensorOptions(at::kFloat).device(store_.types().device));
  for (const WeightDecay decay : {WeightDecay::kYes, WeightDecay::kNo}) {
    std::vector<Tensor> masters, gradients, ms, vs;
    const std::vector<Parameter>& parameters = store_.parameters();
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].spec->decay != decay) continue;
      masters.push_back(parameters[i].master.detach());
      gradients.push_back(parameters[i].gradient);
      ms.push_back(m_[i]);
      vs.push_back(v_[i]);
    }
    if (masters.empty()) continue;
    const std::vector<Tensor> numbers(masters.size(), number);
    at::_fused_adamw_(masters, gradients, ms, vs, /*max_exp_avg_sqs=*/{}, numbers, lr,
                      config_.betas[0], config_.betas[1],
                      decay == WeightDecay::kYes ? config_.weight_decay : 0.0, config_.eps,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state;
  for (size_t i = 0; i < m_.size(); ++i) {
    const std::string& name = store_.parameters()[i].spec->name;
    state.push_back({name + ".m", m_[i]});
    state.push_back({name + ".v", v_[i]});
  }
  return state;
}

}  // namespace weft
