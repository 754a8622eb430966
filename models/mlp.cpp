#include "models/mlp.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>

#include "base/check.h"
#include "models/kernels/gelu.h"
#include "models/kernels/kept_results.h"
#include "models/kernels/silu_mul.h"
#include "models/kernels/swiglu_step.h"

namespace weft {

Tensor activate(const Tensor& x, Activation activation) {
  return activation == Activation::kSilu ? at::silu(x) : gelu_tanh(x);
}

namespace {

// `into`: gate and up side by side, or up alone.
Tensor whole(const MlpConfig& config, const Tensor& x, const Linear& into, const Linear& down,
             Values values) {
  const Tensor inner = into(x);
  if (!config.gated) return down(activate(inner, config.activation), values);
  if (config.activation == Activation::kSilu) return down(silu_mul(inner), values);
  const std::vector<Tensor> gate_up = inner.chunk(2, -1);
  return down(activate(gate_up[0], config.activation) * gate_up[1], values);
}

}  // namespace

void Mlp::declare(const ModelConfig& model, const MlpConfig& config, const std::string& prefix,
                  ParameterTable& table) {
  const int64_t d = model.hidden_size, f = config.intermediate_size;
  const LinearShape into{f, d, config.bias, config.gated ? prefix + ".gate_up" : ""};
  if (config.gated) declare_linear(model, Projection::kInto, prefix + ".gate", into, table);
  declare_linear(model, Projection::kInto, prefix + ".up", into, table);
  declare_linear(model, Projection::kBack, prefix + ".down", {d, f, config.bias}, table);
}

Mlp::Mlp(const MlpConfig& config, const MiniSequences& mini_sequences, const ParameterStore& store,
         const std::string& prefix)
    : config_(config),
      mini_sequences_(mini_sequences),
      into_(store, prefix + (config.gated ? ".gate_up" : ".up")),
      up_(store, prefix + ".up"),
      down_(store, prefix + ".down") {
  if (config.gated) gate_ = Linear(store, prefix + ".gate");
}

Tensor Mlp::forward(const Tensor& x, Values values) const {
  const Tensor tokens = x.reshape({-1, x.size(-1)});
  const int64_t n = tokens.size(0);
  const int64_t rows = mlp_rows(mini_sequences_, n, x.size(-1), config_.intermediate_size);
  if (rows >= n) {
    const Tensor y = whole(config_, x, into_, down_, values);
    forget_last_result();  // a block that is computed again does not look at it
    return y;
  }
  const auto slice = [config = config_, into = into_, down = down_](const Tensor& some, int64_t,
                                                                    Values of_slice) {
    return whole(config, some, into, down, of_slice);
  };
  return in_slices(tokens, rows, slice, values).reshape(x.sizes());
}

cpu::StagedWorkPtr Mlp::decoding_work(const RmsNormWeights& norm, const Tensor& x,
                                      cpu::Scratch& scratch) const {
  WEFT_CHECK(can_decode(), "no kernel decodes with this activation");
  return swiglu_work({.norm = norm,
                      .gate = gate_.weight,
                      .up = up_.weight,
                      .down = down_.weight,
                      .gate_bias = gate_.bias,
                      .up_bias = up_.bias,
                      .down_bias = down_.bias,
                      .router = {},
                      .choice = {}},
                     x, scratch);
}

}  // namespace weft
