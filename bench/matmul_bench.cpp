// Products of large matrices into fp32, against LibTorch's (of bf16 ones into bf16): a linear layer's
// output and its two gradients, for layers of [in, out] and so many tokens. Prints GFLOP/s of both
// and their ratio. OMP_NUM_THREADS sets the threads.
#include <cstdio>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include "bench/versus.h"
#include "models/kernels/matmul.h"

namespace weft {
namespace {

void compare(const char* what, const Tensor& a, const Tensor& b) {
  Tensor ours = at::empty({a.size(0), b.size(1)}, at::kFloat),
         peer = at::empty(ours.sizes(), a.options());
  const Times times = median_times(
      9, [&] { multiply_into(ours, a, b); }, [&] { at::mm_out(peer, a, b); });
  const double flops = 2.0 * static_cast<double>(a.size(0) * a.size(1) * b.size(1));
  std::printf("%s: weft %.0f GFLOP/s, LibTorch %.0f GFLOP/s, ratio %.2f\n", what,
              flops / times.ours / 1e6, flops / times.peer / 1e6, times.peer / times.ours);
  std::fflush(stdout);
}

void run(at::ScalarType type) {
  std::printf("%s, threads %d\n", type == at::kFloat ? "fp32" : "bf16", at::get_num_threads());
  constexpr int64_t kSizes[][3] = {{2048, 2048, 2048}, {2048, 512, 512},  {2048, 512, 3072},
                                   {2048, 1536, 512},  {2048, 512, 8192}, {1024, 768, 3072}};
  for (const auto& [tokens, in, out] : kSizes) {
    std::printf("%ld tokens, %ld -> %ld\n", tokens, in, out);
    const Tensor x = at::randn({tokens, in}).to(type), weight = at::randn({out, in}).to(type);
    const Tensor dy = at::randn({tokens, out}).to(type);
    compare("  y = x W^t  ", x, weight.t());
    compare("  dx = dy W  ", dy, weight);
    compare("  dW = dy^t x", dy.t(), x);
  }
}

}  // namespace
}  // namespace weft

int main() {
  weft::keep_freed_pages();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) weft::run(type);
  return 0;
}
