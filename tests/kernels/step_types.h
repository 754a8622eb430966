#pragma once
// What steps of a few tokens are tested with: types, and numbers of threads.
#include <ATen/Parallel.h>

#include "base/tensor.h"
#include "models/kernels/dispatch.h"

namespace weft {

// In which a step computes, and of its residual stream.
struct StepTypes {
  at::ScalarType storage, residual;
};

inline constexpr StepTypes kStepTypes[] = {{at::kFloat, at::kFloat},
                                           {at::kDouble, at::kDouble},
                                           {at::kBFloat16, at::kBFloat16},
                                           {at::kBFloat16, at::kFloat}};

// f(threads) with LibTorch set to one, two and more threads than there are processors; its setting
// is then as before.
template <class F>
void for_thread_counts(const F& f) {
  const int before = at::get_num_threads();
  for (const int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    f(threads);
  }
  at::set_num_threads(before);
}

}  // namespace weft
