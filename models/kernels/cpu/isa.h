#pragma once
// The instruction sets that CPU kernels are compiled for, each with all of those before it.

namespace weft::cpu {

enum class Isa { kBaseline, kAvx2, kAvx512, kAvx512Bf16 };

inline constexpr Isa kAllIsas[] = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

// What DECLARE makes of the namespace of each of them.
#define WEFT_FOR_EACH_ISA(DECLARE) \
  DECLARE(baseline) DECLARE(avx2) DECLARE(avx512) DECLARE(avx512_bf16)

// Whether this processor runs kernels compiled for `isa`.
bool is_supported(Isa isa);

// The widest that this processor supports.
Isa best_isa();

}  // namespace weft::cpu
