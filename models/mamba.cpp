#include "models/mamba.h"

#include <cmath>

#include <ATen/ops/linear.h>

#include "models/kernels/causal_conv.h"
#include "models/kernels/selective_scan.h"
#include "models/norm.h"

namespace weft {
namespace {

// A row split by channel, kept in the master's type: what the scan and the convolution read.
ParameterSpec channel_row(std::string name, std::vector<int64_t> shape, Initializer init,
                          WeightDecay decay = WeightDecay::kNo) {
  return {.name = std::move(name),
          .shape = std::move(shape),
          .sharding = {0, MeshAxis::kTensor},
          .init = init,
          .decay = decay,
          .compute = ComputeType::kMaster};
}

}  // namespace

void Mamba::declare(const ModelConfig& model, const MambaConfig& c, const std::string& prefix,
                    ParameterTable& table) {
  using Kind = Initializer::Kind;
  const int64_t d = model.hidden_size, di = c.inner_size, n = c.state_size, r = c.dt_rank;
  declare_linear(model, Projection::kInto, prefix + ".in_x", {di, d, c.proj_bias}, table);
  declare_linear(model, Projection::kInto, prefix + ".in_z", {di, d, c.proj_bias}, table);
  table.add(channel_row(prefix + ".conv.weight", {di, c.conv_kernel},
                        {.kind = Kind::kUniform, .a = 1.0 / std::sqrt(double(c.conv_kernel))},
                        WeightDecay::kYes));
  if (c.conv_bias) table.add(channel_row(prefix + ".conv.bias", {di}, {}));
  declare_linear(model, Projection::kReduce, prefix + ".x_dt", {r, di}, table);
  declare_linear(model, Projection::kReduce, prefix + ".x_b", {n, di}, table);
  declare_linear(model, Projection::kReduce, prefix + ".x_c", {n, di}, table);
  if (c.inner_norms) {
    table.add(norm_weight(prefix + ".dt_norm.weight", r));
    table.add(norm_weight(prefix + ".b_norm.weight", n));
    table.add(norm_weight(prefix + ".c_norm.weight", n));
  }
  table.add({.name = prefix + ".dt.weight",
             .shape = {di, r},
             .sharding = {0, MeshAxis::kTensor},
             .init = {.kind = Kind::kUniform, .a = c.dt_scale / std::sqrt(double(r))}});
  table.add(
      channel_row(prefix + ".dt.bias", {di},
                  {.kind = Kind::kInverseSoftplus, .a = c.dt_min, .b = c.dt_max, .c = c.dt_floor}));
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
      x_dt_(store, prefix + ".x_dt"),
      x_b_(store, prefix + ".x_b"),
      x_c_(store, prefix + ".x_c"),
      out_(store, prefix + ".out"),
      conv_weight_(store.compute(prefix + ".conv.weight")),
      dt_weight_(store.compute(prefix + ".dt.weight")),
      dt_bias_(store.compute(prefix + ".dt.bias")),
      a_log_(store.compute(prefix + ".a_log")),
      d_(store.compute(prefix + ".d")) {
  if (config.conv_bias) conv_bias_ = store.compute(prefix + ".conv.bias");
  if (config.inner_norms) {
    dt_norm_ = store.compute(prefix + ".dt_norm.weight");
    b_norm_ = store.compute(prefix + ".b_norm.weight");
    c_norm_ = store.compute(prefix + ".c_norm.weight");
  }
}

Tensor Mamba::forward(const Tensor& u, const Documents& documents) const {
  const std::vector<Tensor> xz = joint_linear(u, {&in_x_, &in_z_});  // [Bz, T, di] each
  const Tensor x = causal_conv_silu(xz[0], conv_weight_, conv_bias_, documents.starts);
  std::vector<Tensor> dbc = joint_linear(x, {&x_dt_, &x_b_, &x_c_});  // [.., R], [.., N], [.., N]
  if (config_.inner_norms) {
    dbc[0] = rms_norm(dbc[0], dt_norm_, norm_eps_);
    dbc[1] = rms_norm(dbc[1], b_norm_, norm_eps_);
    dbc[2] = rms_norm(dbc[2], c_norm_, norm_eps_);
  }
  const Tensor y = selective_scan({.x = x,
                                   .dt = at::linear(dbc[0], dt_weight_),
                                   .b = dbc[1],
                                   .c = dbc[2],
                                   .z = xz[1],
                                   .a_log = a_log_,
                                   .d = d_,
                                   .dt_bias = dt_bias_,
                                   .starts = documents.starts});
  return out_(y);
}

}  // namespace weft
