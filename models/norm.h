#pragma once
// The norm before mixers and feed-forward parts and at the end: RMSNorm or LayerNorm.
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/kernels/rms_norm.h"
#include "models/kernels/rms_norm_weights.h"
#include "parallel/parameter_store.h"

namespace weft {

// The row of an RMSNorm's weight: ones at the start, no decay, kept in the master's type.
ParameterSpec norm_weight(std::string name, int64_t width);

class Norm final {
 public:
  // The rows "<name>.weight" and, for LayerNorm, "<name>.bias".
  static void declare(const NormConfig& config, const std::string& name, int64_t width,
                      ParameterTable& table);
  Norm() = default;
  Norm(const NormConfig& config, const ParameterStore& store, const std::string& name);

  // x [.., n] -> [.., n] in `type`. Statistics are in at least fp32; LayerNorm also multiplies by
  // its weight there (spec/models.md 2, 3).
  Tensor operator()(const Tensor& x, at::ScalarType type) const;

  // The residual stream x [.., n] with a part's output on it, and the norm of that sum in the
  // output's type.
  AddedNorm of_sum(const Tensor& x, const Tensor& added) const;

  // Whether kernels that begin with this norm can go from the residual stream x on in one call,
  // computing in `compute`. They are for a few rows on the CPU and RMS norms; everything else goes
  // by operators, more slowly.
  bool can_decode(const Tensor& x, at::ScalarType compute) const;
  // REQUIRES: an RMS norm.
  RmsNormWeights rms_weights() const { return {weight_, config_.eps}; }

 private:
  NormConfig config_;
  Tensor weight_, bias_;  // [n]; bias_ undefined for RMSNorm
};

}  // namespace weft
