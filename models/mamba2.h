#pragma once
// The Mamba-2 mixer: a state-space model with one decay a head, in the chunked form of matrix
// products (spec/models.md 10; arXiv:2405.21060).
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/decoding_state.h"
#include "models/forward_pass.h"
#include "models/kernels/ssd.h"
#include "models/linear.h"

namespace weft {

// Bytes of the largest tensors of a pass of the chunked scan, at most.
inline constexpr int64_t kScanPassBytes = kSsdPassBytes, kScanPassBytesOnGpu = kSsdPassBytesOnGpu;

class Mamba2 final {
 public:
  // The rows "<prefix>.{in_z,in_x,in_b,in_c,in_dt,out}.weight" (and ".bias" with proj_bias),
  // ".conv_{x,b,c}.{weight,bias}", ".dt_bias", ".a_log", ".d", ".norm.weight".
  static void declare(const ModelConfig& model, const Mamba2Config& config,
                      const std::string& prefix, ParameterTable& table);
  Mamba2(const Mamba2Config& config, double norm_eps, const ParameterStore& store,
         const std::string& prefix);

  // u [Bz, T, d] -> [Bz, T, d]; state and convolution window restart at each document.
  Tensor forward(const Tensor& u, const ForwardPass& pass) const;
  // The next T tokens of rows that go on from `state`, which is brought up to date. No gradients.
  Tensor extend(const Tensor& u, const NewTokens& tokens, ScanState& state) const;

 private:
  struct Projected {
    Tensor z, xbc, dt;  // [Bz, T, di], [Bz, T, di + 2 G N], [Bz, T, Hs]
  };
  Projected project(const Tensor& u) const;
  SsdInputs ssd_inputs(const Tensor& xbc, const Tensor& dt, const Tensor& starts) const;
  Tensor finish(const Tensor& y, const Tensor& z) const;

  Mamba2Config config_;
  double norm_eps_;
  Linear in_;  // of z, x, B, C, dt in one
  Linear out_;
  Tensor conv_weight_, conv_bias_;     // of x, B, C in one: [di + 2 G N, K], [di + 2 G N]
  Tensor dt_bias_, a_log_, d_, norm_;  // [Hs], [Hs], [Hs], [di]
};

}  // namespace weft
