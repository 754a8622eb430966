#pragma once
// What this processor can do, where it decides how a run computes.

namespace weft {

// Whether matrix products in bf16 have hardware of their own (AVX-512 BF16 or AMX BF16). Without it
// they are many times slower than in fp32.
bool has_bf16_units();

}  // namespace weft
