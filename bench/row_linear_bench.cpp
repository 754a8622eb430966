// Linear layers of one and of four rows, as decoding runs them, against at::linear. The weights of
// a size are 400 MB in all and taken in turn, so that they come from memory. Prints the bandwidths
// of copying 1 GB past the caches (read and written bytes) and of reading it, then for each size
// the bandwidth that the weights are read with, its share of the copy's, and the ratio to
// at::linear. Copy, read and both products take turns in slices of some 10 MB, of which the fastest
// count: whole passes would measure who else uses the machine. OMP_NUM_THREADS sets the threads.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>

#include "bench/versus.h"
#include "models/kernels/row_linear.h"
#include "trainer/memory_copy.h"

namespace weft {
namespace {

constexpr int64_t kWeightBytes = 400'000'000;
constexpr int64_t kSliceBytes = 10'000'000;
constexpr int kSlices = 150;  // of each

// Bytes per second of f, which moves `bytes`; the best so far stays.
template <class F>
void keep_best(double& best, int64_t bytes, const F& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  best = std::max(best, static_cast<double>(bytes) / time.count());
}

struct Case {
  int64_t out, in, rows;
  at::ScalarType type;
};

struct Best {
  double copy = 0, read = 0, ours = 0, peer = 0;  // bytes per second
};

Best measure(const Case& c, MemoryCopy& memory) {
  const int64_t bytes = c.out * c.in * static_cast<int64_t>(at::elementSize(c.type));
  const int64_t count = std::max<int64_t>(2, kWeightBytes / bytes);
  const int64_t slice = std::max<int64_t>(1, kSliceBytes / bytes);
  std::vector<Tensor> weights;
  for (int64_t i = 0; i < count; ++i) weights.push_back(at::randn({c.out, c.in}).to(c.type));
  const Tensor x = at::randn({c.rows, c.in}).to(c.type);
  Best best;
  for (int64_t i = 0, n = 0; n < kSlices; ++n, i += 2 * slice) {
    const auto products = [&](int64_t from, const auto& product) {
      for (int64_t j = 0; j < slice; ++j) product(weights[(from + j) % count]);
    };
    keep_best(best.copy, kSliceBytes, [&] { memory.copy(kSliceBytes); });
    keep_best(best.read, kSliceBytes, [&] { memory.read(kSliceBytes); });
    keep_best(best.ours, slice * bytes,
              [&] { products(i, [&](const Tensor& weight) { row_linear(x, weight, Tensor{}); }); });
    keep_best(best.peer, slice * bytes,
              [&] { products(i + slice, [&](const Tensor& weight) { at::linear(x, weight); }); });
  }
  return best;
}

void print_case(const Case& c, MemoryCopy& memory) {
  const Best best = measure(c, memory);
  std::printf(
      "%s %5ldx%-4ld %ld row%s: weft %5.1f GB/s, %3.0f %% of copy (%5.1f; read %5.1f); "
      "at::linear %5.1f, ratio %.2f\n",
      c.type == at::kFloat ? "fp32" : "bf16", c.out, c.in, c.rows, c.rows > 1 ? "s" : " ",
      best.ours / 1e9, 100 * best.ours / best.copy, best.copy / 1e9, best.read / 1e9,
      best.peer / 1e9, best.ours / best.peer);
  std::fflush(stdout);
}

void run() {
  const at::NoGradGuard no_grad;
  MemoryCopy memory;
  Best best;
  for (int i = 0; i < kSlices; ++i) {
    keep_best(best.copy, kSliceBytes, [&] { memory.copy(kSliceBytes); });
    keep_best(best.read, kSliceBytes, [&] { memory.read(kSliceBytes); });
  }
  std::printf("threads %d, copy %.1f GB/s, read %.1f GB/s\n", at::get_num_threads(),
              best.copy / 1e9, best.read / 1e9);
  constexpr int64_t kSizes[][2] = {
      {768, 768}, {3072, 768}, {768, 3072}, {50257, 768}, {1025, 1025}};
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t rows : {1, 4}) {
      for (const auto& [out, in] : kSizes) print_case({out, in, rows, type}, memory);
    }
  }
}

}  // namespace
}  // namespace weft

int main() {
  weft::keep_freed_pages();
  weft::run();
  return 0;
}
