#pragma once
// The SwiGLU feed-forward part (arXiv:2002.05202; spec/models.md 7).
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/linear.h"

namespace weft {

class Mlp final {
 public:
  // The rows "<prefix>.{gate,up,down}.{weight,bias}".
  static void declare(const ModelConfig& model, const MlpConfig& config, const std::string& prefix,
                      ParameterTable& table);
  Mlp(const ParameterStore& store, const std::string& prefix);

  // down(silu(gate(x)) * up(x)): x [..., d] -> [..., d].
  Tensor forward(const Tensor& x) const;

 private:
  Linear gate_, up_, down_;
};

}  // namespace weft
