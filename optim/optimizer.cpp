#include "optim/optimizer.h"

#include "absl/strings/str_cat.h"
#include <ATen/ops/zeros_like.h>

#include "models/kernels/adamw.h"

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

void Optimizer::update(int64_t step, double lr, double gradient_scale) {
  for (const WeightDecay decay : {WeightDecay::kYes, WeightDecay::kNo}) {
    std::vector<AdamWTensors> rows;
    const std::vector<Parameter>& parameters = store_.parameters();
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      if (p.spec->decay != decay) continue;
      rows.push_back({.master = p.master,
                      .gradient = p.gradient,
                      .m = m_[i],
                      .v = v_[i],
                      .copy = p.compute.is_same(p.master) ? Tensor() : p.compute});
    }
    adamw(rows, {.number = step + 1,
                 .lr = lr,
                 .beta1 = config_.betas[0],
                 .beta2 = config_.betas[1],
                 .eps = config_.eps,
                 .weight_decay = decay == WeightDecay::kYes ? config_.weight_decay : 0.0,
                 .gradient_scale = gradient_scale});
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
