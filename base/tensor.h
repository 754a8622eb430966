#pragma once
// The one name for tensors in headers; sources include the single operators that they call.
#include <ATen/core/Tensor.h>

namespace weft {
using Tensor = at::Tensor;
}
