#pragma once
// The residual stream around a part of a layer: x + part(norm(x)).
#include <cstddef>
#include <type_traits>
#include <vector>

#include <c10/util/BFloat16.h>

#include "models/kernels/cpu/row_linear.h"
#include "models/kernels/cpu/scratch.h"

namespace weft::cpu {

// S as LibTorch calls it.
template <class S>
using LibTorchType = std::conditional_t<std::is_same_v<S, Bf16>, c10::BFloat16, S>;

// x [rows, width], dense, in S, or in Compute<S> where `x` is null; norm [width] of an RMS norm.
template <class S>
struct Residual {
  int64_t rows, width;
  S* x;
  Compute<S>* wide_x;
  const Compute<S>* norm;
  double eps;
};

// norm(x) for each thread of a team, for one x after the other: making it takes less time than
// waiting for it.
template <class S>
class NormedResidual final {
 public:
  NormedResidual(const Residual<S>& residual, int64_t max_threads, Scratch& scratch);
  // x is another: no thread has made its norm(x). Between runs of stages.
  void reset();
  // [rows, width], made when the thread first asks.
  LinearInput<S> on(int64_t thread) const;

 private:
  struct alignas(64) Made {
    bool made = false;
  };

  const Residual<S> residual_;
  const int64_t thread_bytes_;
  std::byte* const memory_;         // norm(x) for each thread
  mutable std::vector<Made> made_;  // whether it is there; not in memory that others write to
};

// x[r, i] += y[r, i] for rows first .. first + rows - 1 and columns begin .. end - 1; y [.., width]
// begins at row `first`.
template <class S>
void add_to_residual(const Residual<S>& residual, const S* y, int64_t first, int64_t rows,
                     int64_t begin, int64_t end);

}  // namespace weft::cpu
