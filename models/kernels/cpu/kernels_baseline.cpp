#define WEFT_ISA baseline
#include "models/kernels/cpu/kernels.h"
