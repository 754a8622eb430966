#pragma once
// What kernels leave in memory, and what is expected of it.
#include <cstring>
#include <limits>
#include <vector>

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "tests/cuda_emulation/emulated_block.h"
#include "tests/support/closeness.h"

namespace weft {

inline constexpr at::ScalarType kStorageTypes[] = {at::kFloat, at::kBFloat16, at::kDouble};

// For results: what a kernel does not write stays NaN.
inline Tensor blank(at::IntArrayRef sizes, at::ScalarType type) {
  return at::full(sizes, std::numeric_limits<double>::quiet_NaN(), at::TensorOptions(type));
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && a.is_contiguous() && b.is_contiguous() &&
         (a.numel() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

// The dense tensors that `run` gives, with the threads in ascending order; expects the same bits
// in descending order.
template <class Run>
std::vector<Tensor> in_both_orders(const Run& run) {
  emulation::set_order(emulation::Order::kDescending);
  const std::vector<Tensor> descending = run();
  emulation::set_order(emulation::Order::kAscending);
  std::vector<Tensor> ascending = run();
  EXPECT_EQ(ascending.size(), descending.size());
  for (size_t i = 0; i < ascending.size(); ++i) {
    EXPECT_TRUE(same_bits(ascending[i], descending[i])) << "result " << i;
  }
  return ascending;
}

// expect_as_exact for all.
inline void expect_all_as_exact(const std::vector<Tensor>& ours, const std::vector<Tensor>& plain,
                                const std::vector<Tensor>& truth) {
  ASSERT_EQ(ours.size(), truth.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    SCOPED_TRACE(i);
    expect_as_exact(ours[i], plain[i], truth[i]);
  }
}

}  // namespace weft
