#pragma once
// Model FLOPs per token (spec/models.md 15), from the config alone.
#include <cstdint>

#include "models/config.h"

namespace weft {

// Forward FLOPs of one token at sequence length T, head included; a multiply-add counts 2, causal
// attention its true half. The selective scan's elementwise work is not in it.
double forward_flops_per_token(const ModelConfig& config, int64_t sequence_length);

}  // namespace weft
