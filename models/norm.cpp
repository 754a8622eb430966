#include "models/norm.h"

#include "models/kernels/dispatch.h"
#include "models/kernels/layer_norm.h"
#include "models/linear.h"

namespace weft {

ParameterSpec norm_weight(std::string name, int64_t width) {
  return {.name = std::move(name),
          .shape = {width},
          .sharding = {},
          .init = {.kind = Initializer::Kind::kConstant, .a = 1.0},
          .decay = WeightDecay::kNo,
          .compute = ComputeType::kMaster};
}

void Norm::declare(const NormConfig& config, const std::string& name, int64_t width,
                   ParameterTable& table) {
  table.add(norm_weight(name + ".weight", width));
  if (config.type != NormType::kLayer) return;
  ParameterSpec bias = norm_weight(name + ".bias", width);
  bias.init = {};
  table.add(std::move(bias));
}

Norm::Norm(const NormConfig& config, const ParameterStore& store, const std::string& name)
    : config_(config), weight_(store.compute(name + ".weight")) {
  if (config.type == NormType::kLayer) bias_ = store.compute(name + ".bias");
}

Tensor Norm::operator()(const Tensor& x, at::ScalarType type) const {
  if (config_.type == NormType::kRms) return rms_norm(x, weight_, config_.eps, type);
  const bool fits = weight_.scalar_type() == wide_type(x.scalar_type());
  return layer_norm(fits ? x : x.to(weight_.scalar_type()), weight_, bias_, config_.eps).to(type);
}

AddedNorm Norm::of_sum(const Tensor& x, const Tensor& added) const {
  if (config_.type == NormType::kRms) return add_rms_norm(x, added, weight_, config_.eps);
  const Tensor sum = x + added;
  return {sum, (*this)(sum, added.scalar_type())};
}

bool Norm::can_decode(const Tensor& x, at::ScalarType compute) const {
  return is_few_rows(x) && x.is_contiguous() && config_.type == NormType::kRms &&
         weight_.scalar_type() == wide_type(compute);
}

}  // namespace weft
