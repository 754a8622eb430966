#include "models/kernels/dispatch.h"

namespace weft {

bool has_kernels_for(const Tensor& t) {
#ifdef WEFT_CUDA
  if (t.is_cuda()) return true;
#endif
  return t.is_cpu();
}

}  // namespace weft
