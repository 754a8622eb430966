#include "models/kernels/cross_entropy.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/tensor.h>

#include "models/kernels/cuda/cross_entropy.h"
#include "models/kernels/dispatch.h"
#include "tests/cuda_emulation/results.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr Penalties kPenalties[] = {{}, {.z_loss = 0.01}, {.label_smoothing = 0.1}, {0.02, 0.2}};
constexpr double kScale = 0.1;
enum class Gradient { kWanted, kNot };

// nll, penalty and what the logits become. The logits lie `offset` numbers behind an aligned
// address.
std::vector<Tensor> emulated(const Tensor& logits, const Tensor& targets,
                             const Penalties& penalties, Gradient gradient, int64_t offset = 0) {
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  return in_both_orders([&]() -> std::vector<Tensor> {
    const Tensor memory = blank({offset + rows * vocab}, logits.scalar_type());
    const Tensor z = memory.narrow(0, offset, rows * vocab).view({rows, vocab}).copy_(logits);
    const auto wide = wide_type(logits.scalar_type());
    const Tensor nll = blank({rows}, wide), penalty = blank({rows}, wide);
    with_storage(logits, [&](auto storage) {
      using S = decltype(storage);
      using C = Compute<S>;
      cuda::cross_entropy(CrossEntropyRows<S>{.rows = rows,
                                              .vocab = vocab,
                                              .logits = values<S>(z),
                                              .targets = values<const int64_t>(targets),
                                              .nll = values<C>(nll),
                                              .penalty = values<C>(penalty),
                                              .z_loss = penalties.z_loss,
                                              .label_smoothing = penalties.label_smoothing,
                                              .gradient = gradient == Gradient::kWanted,
                                              .scale = kScale},
                          nullptr);
    });
    return {nll, penalty, z};
  });
}

std::vector<Tensor> joined(const CrossEntropy& of, const Tensor& gradient) {
  return {of.nll, of.penalty, gradient};
}

// The reference is in plain operators.
TEST(CrossEntropyEmulated, IsAsExactAsItsCpuTwin) {
  for (const at::ScalarType type : kStorageTypes) {
    for (const int64_t vocab : {1, 5, 33, 257, 2048, 5000}) {
      const Tensor logits = fill({3, vocab}, 0.3, 6).to(type);
      const Tensor targets = at::tensor({vocab * 4 / 5, int64_t{-3}, vocab - 1});
      for (const Penalties& penalties : kPenalties) {
        SCOPED_TRACE(testing::Message() << type << " " << vocab);
        Tensor exact = logits.to(at::kDouble).clone(), twin = logits.clone();
        const auto truth =
            joined(cross_entropy_reference(exact, targets, penalties, kScale), exact);
        const auto plain = joined(cross_entropy(twin, targets, penalties, kScale), twin);
        for (const int64_t offset : {0, 1}) {
          const auto ours = emulated(logits, targets, penalties, Gradient::kWanted, offset);
          expect_all_as_exact(ours, plain, truth);
          const auto without = emulated(logits, targets, penalties, Gradient::kNot, offset);
          EXPECT_TRUE(same_bits(without[0], ours[0]) && same_bits(without[1], ours[1]));
          EXPECT_TRUE(same_bits(without[2], logits));
        }
      }
    }
  }
}

TEST(CrossEntropyEmulated, TakesLogitsOfAnySize) {
  const double infinity = std::numeric_limits<double>::infinity();
  Tensor logits = fill({3, 1000}, 0.3, 1e4).to(at::kFloat);
  logits.select(0, 1).fill_(-infinity);  // but for one, which is then certain
  logits[1][900] = -3e4;
  const Tensor targets = at::full({3}, 900, at::kLong);
  Tensor twin = logits.clone(), exact = logits.to(at::kDouble).clone();
  const Penalties penalties{.z_loss = 0.01};
  const auto ours = emulated(logits, targets, penalties, Gradient::kWanted);
  EXPECT_EQ(ours[0][1].item<float>(), 0);
  expect_all_as_exact(ours, joined(cross_entropy(twin, targets, penalties, kScale), twin),
                      joined(cross_entropy(exact, targets, penalties, kScale), exact));
}

TEST(CrossEntropyEmulated, ShowsWhatIsNoNumber) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t at : {0, 17, 999}) {
      Tensor logits = at::full({1, 1000}, 0.0F);
      logits[0][at] = bad;
      const auto ours = emulated(logits, at::full({1}, 3, at::kLong), {}, Gradient::kWanted);
      EXPECT_TRUE(std::isnan(ours[0].item<float>())) << bad << " at " << at;
    }
  }
}

TEST(CrossEntropyEmulated, NothingForIgnoredTargetsAndNaNForThoseOutside) {
  Tensor logits = fill({3, 70}, 0.3, 4).to(at::kFloat);
  logits.select(0, 0).fill_(std::numeric_limits<float>::quiet_NaN());
  const Tensor targets = at::tensor({int64_t{-1}, int64_t{70}, int64_t{4}});
  const auto ours = emulated(logits, targets, {0.1, 0.1}, Gradient::kWanted);
  EXPECT_EQ(ours[0][0].item<float>(), 0);
  EXPECT_EQ(ours[1][0].item<float>(), 0);
  EXPECT_EQ(max_magnitude(ours[2][0]), 0);
  EXPECT_TRUE(std::isnan(ours[0][1].item<float>()) && std::isnan(ours[1][1].item<float>()));
  EXPECT_TRUE(ours[2][1].isnan().all().item<bool>());
  EXPECT_FALSE(ours[2][2].isnan().any().item<bool>() || std::isnan(ours[0][2].item<float>()));
  EXPECT_EQ(
      emulated(logits.narrow(0, 0, 0), targets.narrow(0, 0, 0), {}, Gradient::kWanted)[0].numel(),
      0);
}

}  // namespace
}  // namespace weft
