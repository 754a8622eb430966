#include "models/mamba.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>

#include "models/channels.h"
#include "models/kernels/causal_conv.h"
#include "models/norm.h"

namespace weft {

void Mamba::declare(const ModelConfig& model, const MambaConfig& c, const std::string& prefix,
                    ParameterTable& table) {
  using Kind = Initializer::Kind;
  const int64_t d = model.hidden_size, di = c.inner_size, n = c.state_size, r = c.dt_rank;
  const LinearShape into{di, d, c.proj_bias, prefix + ".in_xz"};
  declare_linear(model, Projection::kInto, prefix + ".in_x", into, table);
  declare_linear(model, Projection::kInto, prefix + ".in_z", into, table);
  declare_conv(model, prefix + ".conv", {di, c.conv_kernel, c.conv_bias}, table);
  const auto from_x = [&](const char* name, int64_t out) {
    declare_linear(model, Projection::kReduce, prefix + name,
                   {.out = out, .in = di, .joint = prefix + ".x_dbc"}, table);
  };
  from_x(".x_dt", r);
  from_x(".x_b", n);
  from_x(".x_c", n);
  if (c.inner_norms) {
    table.add(norm_weight(prefix + ".dt_norm.weight", r));
    table.add(norm_weight(prefix + ".b_norm.weight", n));
    table.add(norm_weight(prefix + ".c_norm.weight", n));
  }
  table.add({.name = prefix + ".dt.weight",
             .shape = {di, r},
             .sharding = {0, MeshAxis::kTensor},
             .init = initial_dt_weight(model, c.dt, r)});
  table.add(channel_row(prefix + ".dt.bias", {di}, initial_dt_bias(model, c.dt)));
  table.add(channel_row(prefix + ".a_log", {di, n}, {.kind = Kind::kLogArange}));
  table.add(channel_row(prefix + ".d", {di}, {.kind = Kind::kConstant, .a = 1.0}));
  declare_linear(model, Projection::kBack, prefix + ".out", {d, di, c.proj_bias}, table);
}

Mamba::Mamba(const MambaConfig& config, double norm_eps, const ParameterStore& store,
             const std::string& prefix)
    : config_(config),
      norm_eps_(norm_eps),
      in_x_(store, prefix + ".in_x"),
      in_z_(store, prefix + ".in_z"),
      in_xz_(store, prefix + ".in_xz"),
      x_dt_(store, prefix + ".x_dt"),
      x_b_(store, prefix + ".x_b"),
      x_c_(store, prefix + ".x_c"),
      x_dbc_(store, prefix + ".x_dbc"),
      out_(store, prefix + ".out"),
      conv_weight_(store.compute(prefix + ".conv.weight")),
      dt_bias_(store.compute(prefix + ".dt.bias")),
      a_log_(store.compute(prefix + ".a_log")),
      d_(store.compute(prefix + ".d")) {
  dt_.weight = store.compute(prefix + ".dt.weight");  // the scan adds the bias
  dt_.sums.weight = store.gradient(prefix + ".dt.weight");
  if (config.conv_bias) conv_bias_ = store.compute(prefix + ".conv.bias");
  if (config.inner_norms) {
    dt_norm_ = store.compute(prefix + ".dt_norm.weight");
    b_norm_ = store.compute(prefix + ".b_norm.weight");
    c_norm_ = store.compute(prefix + ".c_norm.weight");
  }
}

// x after the convolution, z the gate: [Bz, T, di].
SelectiveScanInputs Mamba::scan_inputs(const Tensor& x, const Tensor& z,
                                       const Tensor& starts) const {
  std::vector<Tensor> dbc =
      x_dbc_(x).split_with_sizes({config_.dt_rank, config_.state_size, config_.state_size}, -1);
  if (config_.inner_norms) {
    dbc[0] = rms_norm(dbc[0], dt_norm_, norm_eps_);
    dbc[1] = rms_norm(dbc[1], b_norm_, norm_eps_);
    dbc[2] = rms_norm(dbc[2], c_norm_, norm_eps_);
  }
  return {.x = x,
          .dt = dt_(dbc[0]),
          .b = dbc[1],
          .c = dbc[2],
          .z = z,
          .a_log = a_log_,
          .d = d_,
          .dt_bias = dt_bias_,
          .starts = starts,
          .initial_state = {},
          .a = {}};
}

Tensor Mamba::forward(const Tensor& u, const ForwardPass& pass) const {
  const Tensor& starts = pass.documents.starts;
  const std::vector<Tensor> xz = in_xz_(u).chunk(2, -1);  // [Bz, T, di] each
  const Tensor x = causal_conv_silu(xz[0], conv_weight_, conv_bias_, starts);
  return out_(selective_scan(scan_inputs(x, xz[1], starts)));
}

Tensor Mamba::extend(const Tensor& u, const NewTokens& tokens, ScanState& state) const {
  const std::vector<Tensor> xz = in_xz_(u).chunk(2, -1);
  const Tensor x =
      causal_conv_silu_with_state(xz[0], conv_weight_, conv_bias_, tokens.starts, state.window);
  SelectiveScanInputs inputs = scan_inputs(x, xz[1], tokens.starts);
  inputs.initial_state = state.h;
  if (u.size(1) == 1 && u.is_cpu()) inputs.a = a_of(state);
  return out_(selective_scan_with_state(inputs, /*final_state=*/state.h).y);
}

const Tensor& Mamba::a_of(ScanState& state) const {
  if (!state.a.defined()) state.a = -a_log_.exp();
  return state.a;
}

cpu::StagedWorkPtr Mamba::decoding_work(const RmsNormWeights& norm, const NewTokens& tokens,
                                        ScanState& state, const Tensor& x,
                                        cpu::Scratch& scratch) const {
  const MambaStepWeights weights{.norm = norm,
                                 .in_x = in_x_.weight,
                                 .in_z = in_z_.weight,
                                 .in_x_bias = in_x_.bias,
                                 .in_z_bias = in_z_.bias,
                                 .conv_weight = conv_weight_,
                                 .conv_bias = conv_bias_,
                                 .x_dt = x_dt_.weight,
                                 .x_b = x_b_.weight,
                                 .x_c = x_c_.weight,
                                 .dt_norm = dt_norm_,
                                 .b_norm = b_norm_,
                                 .c_norm = c_norm_,
                                 .norm_eps = norm_eps_,
                                 .dt = dt_.weight,
                                 .dt_bias = dt_bias_,
                                 .a = a_of(state),
                                 .d = d_,
                                 .out = out_.weight,
                                 .out_bias = out_.bias};
  return mamba_work(weights, tokens.starts, {state.window, state.h}, x, scratch);
}

}  // namespace weft
