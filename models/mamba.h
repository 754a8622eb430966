#pragma once
// The Mamba-1 mixer, with Jamba's inner norms where the config has them (spec/models.md 9;
// arXiv:2312.00752, arXiv:2403.19887).
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/decoding_state.h"
#include "models/forward_pass.h"
#include "models/kernels/cpu/scratch.h"
#include "models/kernels/cpu/stages.h"
#include "models/kernels/mamba_step.h"
#include "models/kernels/selective_scan.h"
#include "models/kernels/selective_scan_raw.h"
#include "models/linear.h"

namespace weft {

// Of how many tokens a backward pass keeps one state.
inline constexpr int64_t kTokensPerKeptState = kScanChunk;

class Mamba final {
 public:
  // The rows "<prefix>.{in_x,in_z,x_dt,x_b,x_c,dt,out}.weight", ".conv.{weight,bias}", ".dt.bias",
  // ".a_log", ".d" and, with inner norms, ".{dt,b,c}_norm.weight".
  static void declare(const ModelConfig& model, const MambaConfig& config,
                      const std::string& prefix, ParameterTable& table);
  Mamba(const MambaConfig& config, double norm_eps, const ParameterStore& store,
        const std::string& prefix);

  // u [Bz, T, d] -> [Bz, T, d]; state and convolution window restart at each document.
  Tensor forward(const Tensor& u, const ForwardPass& pass) const;
  // The next T tokens of rows that go on from `state`, which is brought up to date. No gradients.
  Tensor extend(const Tensor& u, const NewTokens& tokens, ScanState& state) const;
  // x [Bz, 1, d] += the same of norm(x), as work for one token of each row after the other, on the
  // CPU and without gradients. It reads tokens.starts and `state` where they are now. x: dense, in
  // the compute type or the wider one.
  cpu::StagedWorkPtr decoding_work(const RmsNormWeights& norm, const NewTokens& tokens,
                                   ScanState& state, const Tensor& x, cpu::Scratch& scratch) const;

 private:
  const Tensor& a_of(ScanState& state) const;  // made when a single token first asks
  SelectiveScanInputs scan_inputs(const Tensor& x, const Tensor& z, const Tensor& starts) const;

  MambaConfig config_;
  double norm_eps_;
  Linear in_x_, in_z_;
  Linear in_xz_;  // the two in one
  Linear x_dt_, x_b_, x_c_;
  Linear x_dbc_;  // the three in one
  Linear dt_, out_;
  Tensor conv_weight_, conv_bias_;  // [di, K], [di]
  Tensor dt_bias_, a_log_, d_;      // [di], [di, N], [di]
  Tensor dt_norm_, b_norm_, c_norm_;
};

}  // namespace weft
