#pragma once
// The version of a kernel for an instruction set that is known at run time:
// WEFT_KERNEL_FOR(isa, conv_step_channels<S>).
#include "models/kernels/cpu/isa.h"

#define WEFT_KERNEL_FOR(isa, ...)                                                 \
  ((isa) == ::weft::cpu::Isa::kAvx512Bf16 ? ::weft::cpu::avx512_bf16::__VA_ARGS__ \
   : (isa) == ::weft::cpu::Isa::kAvx512   ? ::weft::cpu::avx512::__VA_ARGS__      \
   : (isa) == ::weft::cpu::Isa::kAvx2     ? ::weft::cpu::avx2::__VA_ARGS__        \
                                          : ::weft::cpu::baseline::__VA_ARGS__)
