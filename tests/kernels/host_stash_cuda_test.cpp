#include <memory>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <gtest/gtest.h>

#include "models/kernels/host_stash.h"
#include "tests/kernels/cuda_device.h"

namespace weft {
namespace {

constexpr int64_t kSize = 2048, kLayers = 24;
constexpr int64_t kBytes = kSize * kSize * 4;

int64_t reserved_peak() {
  return c10::cuda::CUDACachingAllocator::getDeviceStats(0).reserved_bytes[0].peak;
}

// Layers x -> x w, of which only inputs are kept: there and back, without waiting for the device.
// Returns the sum of all inputs that came back.
Tensor there_and_back(const Tensor& start, const Tensor& w, HostStash* stash) {
  std::vector<Tensor> kept;
  Tensor x = start;
  for (int64_t i = 0; i < kLayers; ++i) {
    if (stash != nullptr) {
      stash->put(x);
    } else {
      kept.push_back(x);
    }
    x = x.mm(w);
  }
  Tensor sum = x;
  for (int64_t i = kLayers; i-- > 0;) {
    const Tensor back = stash != nullptr ? stash->take(static_cast<size_t>(i)) : kept[i];
    if (stash == nullptr) kept.pop_back();
    sum = (sum + back).mm(w);  // as slow as a layer's backward pass
  }
  return sum;
}

// The memory that the allocator has taken, not what is in use: a block that waits for a copy
// counts.
TEST(HostStashCuda, HoldsTwoTensorsAtATimeHoweverFarTheProgramIsAhead) {
  WEFT_NEEDS_CUDA_DEVICE();
  const auto device = at::TensorOptions(at::kFloat).device(at::kCUDA);
  const Tensor start = at::randn({kSize, kSize}, device),
               w = at::randn({kSize, kSize}, device) / 45;
  const Tensor expected = there_and_back(start, w, nullptr).cpu();
  const auto added = [&](HostStash* stash) {
    c10::cuda::CUDACachingAllocator::emptyCache();
    c10::cuda::CUDACachingAllocator::resetPeakStats(0);
    const int64_t before = reserved_peak();
    const Tensor sum = there_and_back(start, w, stash);
    EXPECT_TRUE(sum.cpu().equal(expected));
    return reserved_peak() - before;
  };
  const int64_t kept = added(nullptr);
  const auto stash = std::make_unique<HostStash>();
  const int64_t stashed = added(stash.get());
  EXPECT_GE(kept, (kLayers - 1) * kBytes);
  // x or sum, its successor and the sum between them, two inputs on their way and one in use; some
  // blocks that no tensor has at the moment.
  EXPECT_LE(stashed, 9 * kBytes);
}

TEST(HostStashCuda, MayEndWhileCopiesAreUnderWay) {
  WEFT_NEEDS_CUDA_DEVICE();
  const auto device = at::TensorOptions(at::kFloat).device(at::kCUDA);
  const Tensor w = at::randn({kSize, kSize}, device) / 45;
  for (int round = 0; round < 4; ++round) {
    HostStash stash;
    Tensor x = at::randn({kSize, kSize}, device);
    const Tensor truth = x.clone();
    for (int i = 0; i < 4; ++i) {
      stash.put(x);
      x = x.mm(w);
    }
    stash.take(3);
    if (round % 2 == 0) continue;  // one more is on its way back
    stash.take(2);
    stash.take(1);
    EXPECT_TRUE(stash.take(0).equal(truth));
  }
}

}  // namespace
}  // namespace weft
