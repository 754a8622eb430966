#pragma once
// From an operator to the kernel of the device that its tensors are on.

#include "base/check.h"
#include "base/tensor.h"
#include "models/kernels/cuda/stream.h"

#ifdef WEFT_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace weft {

#ifdef WEFT_CUDA
inline constexpr bool kHasCuda = true;
#else
inline constexpr bool kHasCuda = false;
#endif

// on_cuda(stream) with t's GPU and its current stream, or on_cpu(); the program ends where there is
// a kernel for neither. on_cuda must be a generic lambda: a program without CUDA has no kernels
// that it could be linked with, and leaves it out.
template <class OnCuda, class OnCpu>
void on_device(const char* kernel, const Tensor& t, [[maybe_unused]] const OnCuda& on_cuda,
               const OnCpu& on_cpu) {
#ifdef WEFT_CUDA
  if (t.is_cuda()) {
    const c10::cuda::CUDAGuard guard(t.device());
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
    on_cuda(stream);
    return;
  }
#endif
  WEFT_CHECK(t.is_cpu(), "no ", kernel, " on ", t.device());
  on_cpu();
}

}  // namespace weft
