#pragma once
// The version of a kernel for an instruction set that is known at run time:
// WEFT_KERNEL_FOR(isa, row_linear_part<S>).
#include "models/kernels/cpu/isa.h"

#define WEFT_KERNEL_FOR(isa, kernel)                                \
  ((isa) == ::weft::cpu::Isa::kAvx512 ? ::weft::cpu::avx512::kernel \
   : (isa) == ::weft::cpu::Isa::kAvx2 ? ::weft::cpu::avx2::kernel   \
                                      : ::weft::cpu::baseline::kernel)
