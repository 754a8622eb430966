#pragma once
// The RMS norm before a part of a layer, as the kernels that begin with it need it
// (models/kernels/{attention,mamba,swiglu}_step.h).
#include "base/tensor.h"

namespace weft {

struct RmsNormWeights {
  Tensor weight;  // [d] fp32 (fp64 for fp64)
  double eps = 0;
};

}  // namespace weft
