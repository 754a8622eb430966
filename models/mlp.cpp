#include "models/mlp.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>

namespace weft {

void Mlp::declare(const ModelConfig& model, const MlpConfig& config, const std::string& prefix,
                  ParameterTable& table) {
  const int64_t d = model.hidden_size, f = config.intermediate_size;
  declare_linear(model, Projection::kInto, prefix + ".gate", {f, d, config.bias}, table);
  declare_linear(model, Projection::kInto, prefix + ".up", {f, d, config.bias}, table);
  declare_linear(model, Projection::kBack, prefix + ".down", {d, f, config.bias}, table);
}

Mlp::Mlp(const ParameterStore& store, const std::string& prefix)
    : gate_(store, prefix + ".gate"), up_(store, prefix + ".up"), down_(store, prefix + ".down") {}

Tensor Mlp::forward(const Tensor& x) const {
  const std::vector<Tensor> gate_up = joint_linear(x, {&gate_, &up_});
  return down_(at::silu(gate_up[0]) * gate_up[1]);
}

}  // namespace weft
