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
  for (const ParameterBucket& bucket : store.buckets()) {
    m_.push_back(at::zeros_like(bucket.gradient));
    v_.push_back(at::zeros_like(bucket.gradient));
  }
}

void Optimizer::update(int64_t step, double lr, double gradient_scale) {
  for (const WeightDecay decay : {WeightDecay::kYes, WeightDecay::kNo}) {
    std::vector<AdamWTensors> rows;
    for (size_t i = 0; i < m_.size(); ++i) {
      const ParameterBucket& bucket = store_.buckets()[i];
      if (bucket.layout.decay != decay) continue;
      rows.push_back({.master = bucket.master,
                      .gradient = bucket.gradient,
                      .m = m_[i],
                      .v = v_[i],
                      .copy = bucket.narrow});
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
  for (const Parameter& p : store_.parameters()) {
    const auto part = [&](const std::vector<Tensor>& moments) {
      return moments[p.place.bucket].narrow(0, p.place.offset, p.spec->numel()).view(p.spec->shape);
    };
    state.push_back({p.spec->name + ".m", part(m_)});
    state.push_back({p.spec->name + ".v", part(v_)});
  }
  return state;
}

}  // namespace weft
