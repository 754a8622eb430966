#pragma once
#include "base/tensor.h"

namespace weft {

// A tensor handed to an autograd function that must not become an input of its node.
struct Untracked {
  Tensor tensor;
};

}  // namespace weft
