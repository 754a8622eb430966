#include "tests/cuda_emulation/emulated_block.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "models/kernels/cuda/block_sum.cuh"

namespace weft {
namespace {

using cuda::launch;

// In both orders of threads.
class Emulation : public testing::TestWithParam<emulation::Order> {
 protected:
  void SetUp() override { emulation::set_order(GetParam()); }
  void TearDown() override { emulation::set_order(emulation::Order::kAscending); }
};

INSTANTIATE_TEST_SUITE_P(Orders, Emulation,
                         testing::Values(emulation::Order::kAscending,
                                         emulation::Order::kDescending));

void number_kernel(int* out) {
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[i] = static_cast<int>(i);
}

TEST_P(Emulation, RunsEveryThreadOfEveryBlockOnce) {
  std::vector<int> out(2 * 3 * 4 * 5 * 6 * 7, -1);
  launch(number_kernel, dim3(2, 3, 4), dim3(5, 6, 7), 0, nullptr, out.data());
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], static_cast<int>(i));
}

template <class C>
void sum_kernel(C* out) {
  const C mine = static_cast<C>(threadIdx.x + 1) / 4;
  const C first = cuda::sum_over_block<96>(mine), second = cuda::sum_over_block<96>(mine * mine);
  out[blockIdx.x * 96 + threadIdx.x] = first + 1000 * second;
}

template <class C>
void expect_block_sums() {
  std::vector<C> out(3 * 96);
  launch(sum_kernel<C>, 3, 96, 0, nullptr, out.data());
  for (const C sum : out) EXPECT_EQ(sum, 1164 + 1000 * 18721);  // 96 97 / 8; 96 97 193 / 96
}

TEST_P(Emulation, BarriersAndShufflesBringTheBlocksSums) { expect_block_sums<double>(); }

// What a kernel does that forgets the barrier between writing and reading.
void race_kernel(float* out) {
  __shared__ float values[64];
  values[threadIdx.x] = static_cast<float>(threadIdx.x);
  out[threadIdx.x] = values[63 - threadIdx.x];
}

TEST_P(Emulation, ShowsAMissingBarrier) {
  std::vector<float> out(64);
  launch(race_kernel, 1, 64, 0, nullptr, out.data());
  // Lane i runs before lane 63 - i in one half of the block.
  const size_t early = GetParam() == emulation::Order::kAscending ? 0 : 63;
  EXPECT_TRUE(std::isnan(out[early]));
  EXPECT_EQ(out[63 - early], static_cast<float>(early));
}

void unwritten_kernel(double* out) {
  __shared__ double fixed;
  auto* const dynamic = static_cast<float*>(cuda::dynamic_shared());
  out[blockIdx.x * 2] = fixed;
  out[blockIdx.x * 2 + 1] = dynamic[9];
  fixed = dynamic[9] = 1;
}

TEST_P(Emulation, SharedMemoryIsNanAtEveryBlocksBegin) {
  std::vector<double> out(6);
  launch(unwritten_kernel, 3, 1, 10 * sizeof(float), nullptr, out.data());
  for (const double x : out) EXPECT_TRUE(std::isnan(x));
}

void left_out_kernel() {
  if (threadIdx.x == 5) return;
  cuda::sum_over_warp(1.0F);
}

void divergent_kernel() {
  if (threadIdx.x == 5) {
    __syncthreads();
  } else {
    cuda::sum_over_warp(1.0F);
  }
}

void early_kernel(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

TEST_P(Emulation, ABarrierIsForThoseThatAreLeft) {
  std::vector<int> out(40);
  launch(early_kernel, 1, 64, 0, nullptr, out.data());
  EXPECT_EQ(out, std::vector<int>(40, 1));
}

TEST(EmulationDeathTest, AShuffleWithoutALaneEndsTheProgram) {
  EXPECT_DEATH(launch(left_out_kernel, 1, 32, 0, nullptr), "takes no part in a shuffle");
  EXPECT_DEATH(launch(divergent_kernel, 1, 32, 0, nullptr), "takes no part in a shuffle");
  EXPECT_DEATH(launch(left_out_kernel, 1, 4, 0, nullptr), "of 4 threads");
}

TEST(GridSizeDeathTest, DoesNotWrapAround) {
  EXPECT_EQ(cuda::grid_size((int64_t{1} << 32) - 1), 0xFFFFFFFFU);
  EXPECT_DEATH(cuda::grid_size(int64_t{1} << 32), "a grid of 4294967296 blocks");
}

TEST(EmulationDeathTest, LaunchesThatAGpuRefusesEndTheProgram) {
  std::vector<int> out(1);
  EXPECT_DEATH(launch(number_kernel, dim3(1, 65536), 1, 0, nullptr, out.data()),
               "invalid configuration argument");
  EXPECT_DEATH(launch(number_kernel, 0, 1, 0, nullptr, out.data()), "invalid configuration");
  EXPECT_DEATH(launch(number_kernel, 1, 1025, 0, nullptr, out.data()), "invalid configuration");
  EXPECT_DEATH(launch(number_kernel, 1, 1, (48 << 10) + 1, nullptr, out.data()),
               "invalid argument");
}

}  // namespace
}  // namespace weft
