#include "models/mlp.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>

#include "base/check.h"
#include "models/kernels/swiglu_step.h"

namespace weft {

Tensor activate(const Tensor& x, Activation activation) {
  return activation == Activation::kSilu ? at::silu(x) : at::gelu(x, "tanh");
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
  return down_(activate(gate_up[0], config_.activation) * gate_up[1]);
}

void Mlp::decode(const RmsNormWeights& norm, Tensor& x) const {
  WEFT_CHECK(can_decode(), "no kernel decodes with this activation");
  swiglu_step({.norm = norm,
               .gate = gate_.weight,
               .up = up_.weight,
               .down = down_.weight,
               .gate_bias = gate_.bias,
               .up_bias = up_.bias,
               .down_bias = down_.bias,
               .router = {},
               .choice = {}},
              x);
}

}  // namespace weft
