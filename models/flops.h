#pragma once
// Model FLOPs per token (spec/models.md 15), from the config alone.
#include <cstdint>

#include "models/config.h"

namespace weft {

// Forward FLOPs of one token at sequence length T, head included: F(T) of spec/models.md 15. A
// multiply-add counts 2, causal attention its true half, the selective scan 9 N + 3 a channel.
double forward_flops_per_token(const ModelConfig& config, int64_t sequence_length);

}  // namespace weft
