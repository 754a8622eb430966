#pragma once
// The dense feed-forward part: gated (SwiGLU, arXiv:2002.05202) or plain (GPT-2); spec/models.md 7.
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/linear.h"

namespace weft {

// x -> act(x), elementwise.
Tensor activate(const Tensor& x, Activation activation);

// act(gate) * up, of one shape.
Tensor gated(const Tensor& gate, const Tensor& up, Activation activation);

class Mlp final {
 public:
  // The rows "<prefix>.{gate,up,down}.{weight,bias}"; no gate in a plain one.
  static void declare(const ModelConfig& model, const MlpConfig& config, const std::string& prefix,
                      ParameterTable& table);
  Mlp(const MlpConfig& config, const ParameterStore& store, const std::string& prefix);

  // x [..., d] -> [..., d].
  Tensor forward(const Tensor& x) const;

 private:
  MlpConfig config_;
  Linear gate_, up_, down_;
};

}  // namespace weft
