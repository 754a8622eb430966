#pragma once
// The table's row of a norm, and the norm itself.
#include <string>

#include "models/kernels/rms_norm.h"
#include "parallel/parameter_store.h"

namespace weft {

// The row of a norm's weight: ones at the start, no decay, kept in the master's type.
ParameterSpec norm_weight(std::string name, int64_t width);

}  // namespace weft
