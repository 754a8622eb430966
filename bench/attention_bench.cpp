// Causal attention, forward and backward, against LibTorch's own kernel
// (scaled_dot_product_attention). Prints both times, their ratio, and the rate of the products that
// a causal mask leaves: 2 forward and 5 backward of [T, T / 2, e] for every head.
// OMP_NUM_THREADS sets the threads.
#include <cstdio>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "bench/versus.h"
#include "models/kernels/block_attention.h"

namespace weft {
namespace {

struct Case {
  int64_t rows, heads, length, width;
};

template <class Function>
void forward_backward(const std::vector<Tensor>& leaves, const Tensor& dy, const Function& f) {
  f(leaves[0], leaves[1], leaves[2]).backward(dy);
  for (const Tensor& leaf : leaves) leaf.mutable_grad() = Tensor{};
}

void compare(const Case& c, at::ScalarType type) {
  std::vector<Tensor> leaves;
  for (int i = 0; i < 3; ++i) {
    leaves.push_back(
        at::randn({c.rows, c.length, c.heads, c.width}).to(type).set_requires_grad(true));
  }
  const Tensor dy = at::randn(leaves[0].sizes()).to(type);
  std::vector<Segment> documents;
  for (int64_t row = 0; row < c.rows; ++row) documents.push_back({row, 0, c.length});
  const auto ours = [=](const Tensor& q, const Tensor& k, const Tensor& v) {
    return block_attention(q, k, v, documents);
  };
  const auto peer = [](const Tensor& q, const Tensor& k, const Tensor& v) {
    return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                            {}, 0.0, /*is_causal=*/true)
        .transpose(1, 2);
  };
  const auto our_turn = [=] { forward_backward(leaves, dy, ours); };
  const auto times = median_times(9, our_turn, [&] { forward_backward(leaves, dy, peer); });
  const double flops = 7.0 * static_cast<double>(c.rows * c.heads * c.width * c.length * c.length);
  std::printf(
      "%s %ld x %ld heads x %5ld x %3ld: weft %.2f ms (%.0f GFLOP/s), LibTorch %.2f ms, "
      "ratio %.2f\n",
      type == at::kFloat ? "fp32" : "bf16", c.rows, c.heads, c.length, c.width, times.ours,
      flops / times.ours / 1e6, times.peer, times.peer / times.ours);
  std::fflush(stdout);
  char name[64];
  std::snprintf(name, sizeof name, "attention/%s/%ldx%ldx%ldx%ld",
                type == at::kFloat ? "fp32" : "bf16", c.rows, c.heads, c.length, c.width);
  register_benchmark(name, flops, our_turn);
}

void run() {
  std::printf("threads %d\n", at::get_num_threads());
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    compare({2, 8, 1024, 64}, type);
    compare({1, 8, 4096, 64}, type);
    compare({1, 12, 1024, 64}, type);
    compare({1, 4, 2048, 128}, type);
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::keep_freed_pages();
  if (!weft::has_block_attention(at::randn({1, 1, 1, 2}).to(at::kBFloat16))) {
    std::fprintf(stderr, "attention_bench: this processor has no AVX-512 BF16\n");
    return 2;
  }
  weft::run();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
