#pragma once
// Rows of an embedding for tokens.
#include "base/tensor.h"

namespace weft {

// weight [V, d], tokens [..] int64 -> [.., d] in the weight's type. `padding_id` (-1: none) is a
// token whose row has no gradient. Where `gradient` [V, d] is defined the backward pass adds to its
// rows, in the order of the tokens, and the weight itself gets none: on the CPU a gradient
// of the weight's size, almost all zeros, never exists.
Tensor embedding_lookup(const Tensor& weight, const Tensor& tokens, int64_t padding_id,
                        const Tensor& gradient);

}  // namespace weft
