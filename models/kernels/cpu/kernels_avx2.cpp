#define WEFT_ISA avx2
#include "models/kernels/cpu/kernels.h"
