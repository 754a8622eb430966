#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "models/kernels/cross_entropy.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

TEST(CrossEntropyCuda, IsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  const Penalties penalties{.z_loss = 0.01, .label_smoothing = 0.1};
  const Tensor targets = at::arange(40, at::kLong) * 7 - 20;  // three are ignored
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Tensor logits = fill({40, 5000}, 0.3, 6).to(type);
    Tensor exact = logits.to(at::kDouble), twin = logits.clone(), ours = logits.to(at::kCUDA);
    const CrossEntropy truth = cross_entropy(exact, targets, penalties, 0.1);
    const CrossEntropy plain = cross_entropy(twin, targets, penalties, 0.1);
    const CrossEntropy there = cross_entropy(ours, targets.to(at::kCUDA), penalties, 0.1);
    expect_as_exact(there.nll.cpu(), plain.nll, truth.nll, "nll");
    expect_as_exact(there.penalty.cpu(), plain.penalty, truth.penalty, "penalty");
    expect_as_exact(ours.cpu(), twin, exact, "gradient");
  }
}

}  // namespace
}  // namespace weft
