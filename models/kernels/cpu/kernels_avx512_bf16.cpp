#define WEFT_ISA avx512_bf16
#include "models/kernels/cpu/kernels.h"
