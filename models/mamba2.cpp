#include "models/mamba2.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/softplus.h>

#include "models/channels.h"
#include "models/kernels/causal_conv.h"
#include "models/kernels/gated_rms_norm.h"
#include "models/norm.h"

namespace weft {

void Mamba2::declare(const ModelConfig& model, const Mamba2Config& c, const std::string& prefix,
                     ParameterTable& table) {
  const int64_t d = model.hidden_size, di = c.inner_size(), h = c.num_heads;
  const int64_t states = c.num_groups * c.state_size;
  const auto into = [&](const char* name, int64_t out) {
    declare_linear(model, Projection::kInto, prefix + "." + name,
                   {out, d, c.proj_bias, prefix + ".in"}, table);
  };
  into("in_z", di);
  into("in_x", di);
  into("in_b", states);
  into("in_c", states);
  into("in_dt", h);
  const auto conv = [&](const char* name, int64_t channels) {
    declare_conv(model, prefix + name, {channels, c.conv_kernel, c.conv_bias, prefix + ".conv"},
                 table);
  };
  conv(".conv_x", di);
  conv(".conv_b", states);
  conv(".conv_c", states);
  table.add(channel_row(prefix + ".dt_bias", {h}, initial_dt_bias(model, c.dt)));
  table.add(channel_row(prefix + ".a_log", {h}, initial_head_a_log(model)));
  table.add(channel_row(prefix + ".d", {h}, {.kind = Initializer::Kind::kConstant, .a = 1.0}));
  ParameterSpec norm = norm_weight(prefix + ".norm.weight", di);
  norm.sharding = {0, MeshAxis::kTensor};
  table.add(std::move(norm));
  declare_linear(model, Projection::kBack, prefix + ".out", {d, di, c.proj_bias}, table);
}

Mamba2::Mamba2(const Mamba2Config& config, double norm_eps, const ParameterStore& store,
               const std::string& prefix)
    : config_(config),
      norm_eps_(norm_eps),
      in_(store, prefix + ".in"),
      out_(store, prefix + ".out"),
      conv_weight_(store.compute(prefix + ".conv.weight")),
      dt_bias_(store.compute(prefix + ".dt_bias")),
      a_log_(store.compute(prefix + ".a_log")),
      d_(store.compute(prefix + ".d")),
      norm_(store.compute(prefix + ".norm.weight")) {
  if (config.conv_bias) conv_bias_ = store.compute(prefix + ".conv.bias");
}

Mamba2::Projected Mamba2::project(const Tensor& u) const {
  const Tensor all = in_(u);
  const std::vector<Tensor> parts =
      all.split_with_sizes({config_.inner_size(), config_.conv_channels(), config_.num_heads}, -1);
  return {parts[0], parts[1], parts[2]};
}

// xbc after the convolution.
SsdInputs Mamba2::ssd_inputs(const Tensor& xbc, const Tensor& dt, const Tensor& starts) const {
  const int64_t rows = xbc.size(0), length = xbc.size(1);
  const int64_t groups = config_.num_groups, states = config_.state_size;
  const std::vector<Tensor> parts =
      xbc.split_with_sizes({config_.inner_size(), groups * states, groups * states}, -1);
  const Tensor step = at::softplus(dt.to(dt_bias_.scalar_type()) + dt_bias_);
  return {.x = parts[0].reshape({rows, length, config_.num_heads, config_.head_dim}),
          .dt = step.clamp(config_.dt_limit_low, config_.dt_limit_high),
          .a = -a_log_.exp(),
          .b = parts[1].reshape({rows, length, groups, states}),
          .c = parts[2].reshape({rows, length, groups, states}),
          .d = d_,
          .starts = starts,
          .initial_state = {}};
}

Tensor Mamba2::finish(const Tensor& y, const Tensor& z) const {
  const NormOrder order = config_.norm_before_gate ? NormOrder::kNormFirst : NormOrder::kGateFirst;
  return out_(gated_rms_norm(y.reshape(z.sizes()), z, norm_, config_.num_groups, norm_eps_, order));
}

Tensor Mamba2::forward(const Tensor& u, const ForwardPass& pass) const {
  const Tensor& starts = pass.documents.starts;
  const Projected p = project(u);
  const Tensor xbc = causal_conv_silu(p.xbc, conv_weight_, conv_bias_, starts);
  return finish(ssd(ssd_inputs(xbc, p.dt, starts), config_.chunk_size).y, p.z);
}

Tensor Mamba2::extend(const Tensor& u, const NewTokens& tokens, ScanState& state) const {
  const Projected p = project(u);
  const Tensor xbc =
      causal_conv_silu_with_state(p.xbc, conv_weight_, conv_bias_, tokens.starts, state.window);
  SsdInputs inputs = ssd_inputs(xbc, p.dt, tokens.starts);
  inputs.initial_state = state.h;
  const SsdOutputs out = ssd(inputs, config_.chunk_size);
  state.h = out.final_state;
  return finish(out.y, p.z);
}

}  // namespace weft
