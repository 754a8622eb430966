#pragma once
// Tolerances that are derived rather than chosen (style.md 2.11).
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "base/tensor.h"

namespace weft {

// max |a - b| in fp64; 0 for empty tensors.
inline double max_difference(const Tensor& a, const Tensor& b) {
  if (a.numel() == 0) return 0;
  const Tensor difference =
      a.detach().to(at::kCPU, at::kDouble) - b.detach().to(at::kCPU, at::kDouble);
  return difference.abs().max().item<double>();
}

inline double max_magnitude(const Tensor& a) {
  return a.numel() == 0 ? 0 : a.detach().to(at::kCPU, at::kDouble).abs().max().item<double>();
}

// Expects ours to be at most twice as far from the fp64 truth as plain LibTorch operators are in
// the type of ours, and 1e-6 of the truth's magnitude besides; in fp64, whose truth is another sum
// in fp64, 1e-12: a rounding of 1e-16 at each of some thousand additions. NaN is never close.
inline void expect_as_exact(const Tensor& ours, const Tensor& plain, const Tensor& truth,
                            const char* what = "") {
  ASSERT_EQ(ours.sizes(), truth.sizes()) << what;
  ASSERT_EQ(ours.scalar_type(), plain.scalar_type()) << what;
  const double slack = ours.scalar_type() == at::kDouble ? 1e-12 : 1e-6;
  EXPECT_LE(max_difference(ours, truth),
            2 * max_difference(plain, truth) + slack * max_magnitude(truth))
      << what;
}

}  // namespace weft
