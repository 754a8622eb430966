#define WEFT_ISA avx512
#include "models/kernels/cpu/kernels.h"
