#include "models/mlp.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>

#include "models/kernels/silu_mul.h"

namespace weft {

Tensor activate(const Tensor& x, Activation activation) {
  return activation == Activation::kSilu ? at::silu(x) : at::gelu(x, "tanh");
}

Tensor gated(const Tensor& gate, const Tensor& up, Activation activation) {
  if (activation == Activation::kSilu && is_few_rows(gate)) return silu_mul(gate, up);
  return activate(gate, activation) * up;
}

void Mlp::declare(const ModelConfig& model, const MlpConfig& config, const std::string& prefix,
                  ParameterTable& table) {
  const int64_t d = model.hidden_size, f = config.intermediate_size;
  if (config.gated) {
    declare_linear(model, Projection::kInto, prefix + ".gate", {f, d, config.bias}, table);
  }
  declare_linear(model, Projection::kInto, prefix + ".up", {f, d, config.bias}, table);
  declare_linear(model, Projection::kBack, prefix + ".down", {d, f, config.bias}, table);
}

Mlp::Mlp(const MlpConfig& config, const ParameterStore& store, const std::string& prefix)
    : config_(config), up_(store, prefix + ".up"), down_(store, prefix + ".down") {
  if (config.gated) gate_ = Linear(store, prefix + ".gate");
}

Tensor Mlp::forward(const Tensor& x) const {
  if (!config_.gated) return down_(activate(up_(x), config_.activation));
  const std::vector<Tensor> gate_up = joint_linear(x, {&gate_, &up_});
  return down_(gated(gate_up[0], gate_up[1], config_.activation));
}

}  // namespace weft
