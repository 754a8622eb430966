#include <cmath>
#include <limits>
#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/cross_entropy.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr Penalties kPenalties[] = {{}, {.z_loss = 0.01}, {.label_smoothing = 0.1}, {0.02, 0.2}};

Tensor on_device(const Tensor& t) { return t.to(at::kCUDA, /*non_blocking=*/false, /*copy=*/true); }

// About every third target is ignored.
Tensor targets_for(int64_t rows, int64_t vocab) {
  const Tensor i = at::arange(rows, at::kLong);
  return (i * 7 + vocab - 1).remainder(vocab).masked_fill(i.remainder(3).eq(1), -100);
}

// The reference is in plain operators.
TEST(CrossEntropyCuda, IsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const auto& [rows, vocab] :
         {std::tuple{1, 1}, {3, 5}, {40, 257}, {9, 1025}, {7, 5000}, {5, 50257}, {2, 128256}}) {
      const Tensor logits = fill({rows, vocab}, 0.3, 6).to(type);
      const Tensor targets = targets_for(rows, vocab);
      for (const Penalties& penalties : kPenalties) {
        Tensor exact = logits.to(at::kDouble).clone(), twin = logits.clone();
        Tensor ours = on_device(logits);
        const CrossEntropy truth = cross_entropy_reference(exact, targets, penalties, 0.1);
        const CrossEntropy plain = cross_entropy(twin, targets, penalties, 0.1);
        const CrossEntropy there = cross_entropy(ours, on_device(targets), penalties, 0.1);
        expect_as_exact(there.nll.cpu(), plain.nll, truth.nll, "nll");
        expect_as_exact(there.penalty.cpu(), plain.penalty, truth.penalty, "penalty");
        expect_as_exact(ours.cpu(), twin, exact, "gradient");
        Tensor kept = on_device(logits);
        const CrossEntropy without = cross_entropy(kept, on_device(targets), penalties, {});
        EXPECT_TRUE(kept.cpu().equal(logits));
        EXPECT_TRUE(without.nll.equal(there.nll) && without.penalty.equal(there.penalty));
      }
    }
  }
}

TEST(CrossEntropyCuda, GivesTheSameBitsEachTime) {
  WEFT_NEEDS_CUDA_DEVICE();
  const Tensor logits = fill({64, 50257}, 0.3, 6).to(at::kBFloat16);
  const Tensor targets = on_device(targets_for(64, 50257));
  Tensor first = on_device(logits);
  const CrossEntropy expected = cross_entropy(first, targets, {0.01, 0.1}, 1.0);
  for (int run = 0; run < 3; ++run) {
    Tensor z = on_device(logits);
    const CrossEntropy ours = cross_entropy(z, targets, {0.01, 0.1}, 1.0);
    EXPECT_TRUE(z.equal(first) && ours.nll.equal(expected.nll));
    EXPECT_TRUE(ours.penalty.equal(expected.penalty));
  }
}

TEST(CrossEntropyCuda, TakesLogitsOfAnySize) {
  WEFT_NEEDS_CUDA_DEVICE();
  const double infinity = std::numeric_limits<double>::infinity();
  Tensor logits = fill({3, 5000}, 0.3, 1e4).to(at::kFloat);
  logits.select(0, 1).fill_(-infinity);  // but for one, which is then certain
  logits[1][4000] = -3e4;
  Tensor twin = logits.clone(), ours = on_device(logits);
  const Tensor targets = at::full({3}, 4000, at::kLong);
  const CrossEntropy plain = cross_entropy(twin, targets, {.z_loss = 0.01}, 1.0);
  const CrossEntropy there = cross_entropy(ours, on_device(targets), {.z_loss = 0.01}, 1.0);
  EXPECT_EQ(there.nll[1].item<double>(), 0);
  EXPECT_LE(max_difference(there.nll, plain.nll), 1e-6 * max_magnitude(plain.nll));
  EXPECT_LE(max_difference(there.penalty, plain.penalty), 1e-6 * max_magnitude(plain.penalty));
  EXPECT_LE(max_difference(ours, twin), 1e-6 * max_magnitude(twin));
}

TEST(CrossEntropyCuda, ShowsWhatIsNoNumber) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t at : {0, 17, 4999}) {
      Tensor logits = at::zeros({1, 5000});
      logits[0][at] = bad;
      Tensor ours = on_device(logits);
      const Tensor target = on_device(at::full({1}, 3, at::kLong));
      EXPECT_TRUE(std::isnan(cross_entropy(ours, target, {}, {}).nll.item<float>()))
          << bad << " at " << at;
    }
  }
}

TEST(CrossEntropyCuda, NothingForIgnoredTargetsAndNaNForThoseOutside) {
  WEFT_NEEDS_CUDA_DEVICE();
  const Tensor targets = at::full({3}, -1, at::kLong);
  targets[1] = 70;
  targets[2] = 4;
  Tensor logits = fill({3, 70}, 0.3, 4).to(at::kFloat);
  logits.select(0, 0).fill_(std::numeric_limits<float>::quiet_NaN());
  Tensor ours = on_device(logits);
  const CrossEntropy there = cross_entropy(ours, on_device(targets), {0.1, 0.1}, 1.0);
  EXPECT_EQ(there.nll[0].item<float>(), 0);
  EXPECT_EQ(there.penalty[0].item<float>(), 0);
  EXPECT_TRUE(ours[0].cpu().equal(at::zeros({70})));
  EXPECT_TRUE(std::isnan(there.nll[1].item<float>()) && std::isnan(there.penalty[1].item<float>()));
  EXPECT_TRUE(ours[1].isnan().all().item<bool>());
  EXPECT_FALSE(ours[2].isnan().any().item<bool>() || std::isnan(there.nll[2].item<float>()));
  Tensor none = on_device(at::zeros({0, 70}));
  EXPECT_EQ(cross_entropy(none, on_device(at::zeros({0}, at::kLong)), {}, 1.0).nll.numel(), 0);
}

TEST(CrossEntropyCudaDeathTest, TargetsOnAnotherDeviceAreAProgrammersError) {
  WEFT_NEEDS_CUDA_DEVICE();
  Tensor logits = on_device(at::zeros({2, 5}));
  EXPECT_DEATH(cross_entropy(logits, at::zeros({2}, at::kLong), {}, 1.0),
               "cross_entropy of logits");
}

}  // namespace
}  // namespace weft
