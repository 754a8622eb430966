#include "models/kernels/cpu/isa.h"

namespace weft::cpu {

bool is_supported(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("x86-64-v3");
    case Isa::kAvx512:
      return __builtin_cpu_supports("x86-64-v4");
    case Isa::kAvx512Bf16:
      return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16");
  }
  return false;
}

Isa best_isa() {
  Isa best = Isa::kBaseline;
  for (const Isa isa : kAllIsas) {
    if (is_supported(isa)) best = isa;
  }
  return best;
}

}  // namespace weft::cpu
