#define WEFT_ISA avx512_bf16
#include "models/kernels/cpu/row_linear_kernel.h"

namespace weft::cpu::avx512_bf16 {

template void row_linear_part<Bf16>(const LinearInput<Bf16>&, const LinearRows<Bf16>&, int64_t,
                                    int64_t);

}  // namespace weft::cpu::avx512_bf16
