#pragma once
// The dense feed-forward part: gated (SwiGLU, arXiv:2002.05202) or plain (GPT-2); spec/models.md 7.
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/kernels/cpu/scratch.h"
#include "models/kernels/cpu/stages.h"
#include "models/kernels/rms_norm_weights.h"
#include "models/linear.h"
#include "models/mini_sequences.h"
#include "models/recompute.h"

namespace weft {

// x -> act(x), elementwise.
Tensor activate(const Tensor& x, Activation activation);

class Mlp final {
 public:
  // The rows "<prefix>.{gate,up,down}.{weight,bias}"; no gate in a plain one.
  static void declare(const ModelConfig& model, const MlpConfig& config, const std::string& prefix,
                      ParameterTable& table);
  Mlp(const MlpConfig& config, const MiniSequences& mini_sequences, const ParameterStore& store,
      const std::string& prefix);

  // x [..., d] -> [..., d], by mini-sequences. `values`: as of in_slices. REQUIRES: where a block
  // is computed again (models/recompute.h), its values are only added to what the block gives.
  Tensor forward(const Tensor& x, Values values = Values::kWanted) const;

  // Whether there is a kernel for a few rows on the CPU: SwiGLU alone has one.
  bool can_decode() const { return config_.gated && config_.activation == Activation::kSilu; }
  // x [.., d] += forward(norm(x)), as work for one x after the other in the same memory: a few rows
  // on the CPU, without gradients. x: dense, in the compute type or the wider one. REQUIRES:
  // can_decode().
  cpu::StagedWorkPtr decoding_work(const RmsNormWeights& norm, const Tensor& x,
                                   cpu::Scratch& scratch) const;

 private:
  MlpConfig config_;
  MiniSequences mini_sequences_;
  Linear into_;  // gate and up in one, or up alone
  Linear gate_, up_, down_;
};

}  // namespace weft
