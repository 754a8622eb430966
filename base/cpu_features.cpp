#include "base/cpu_features.h"

#include <cpuid.h>

namespace weft {

bool has_bf16_units() {
  // Intel SDM volume 2A, CPUID leaf 7: AMX-BF16 is EDX bit 22 of subleaf 0, AVX512_BF16 EAX bit 5
  // of subleaf 1. The compiler's own test, for AVX-512, adds that the system saves its registers.
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__builtin_cpu_supports("avx512f") || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0)
    return false;
  const bool amx = (d >> 22 & 1) != 0;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return amx;
  return amx || (a >> 5 & 1) != 0;
}

}  // namespace weft
