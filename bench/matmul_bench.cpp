// Products of large matrices into fp32, against LibTorch's (of bf16 ones into bf16): a linear
// layer's output and its two gradients, for layers of [in, out] and so many tokens; then those of
// eight experts forward and backward, against a linear layer of LibTorch's for each. Prints GFLOP/s
// of both and their ratio; then the Google benchmarks. OMP_NUM_THREADS sets the threads.
#include <cstdio>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "bench/versus.h"
#include "models/kernels/grouped_linear.h"
#include "models/kernels/matmul.h"

namespace weft {
namespace {

const char* name_of(at::ScalarType type) { return type == at::kFloat ? "fp32" : "bf16"; }

void print_rates(const char* what, double flops, const Times& times) {
  std::printf("%s: weft %.0f GFLOP/s, LibTorch %.0f GFLOP/s, ratio %.2f\n", what,
              flops / times.ours / 1e6, flops / times.peer / 1e6, times.peer / times.ours);
  std::fflush(stdout);
}

void compare(const char* what, const char* size, const Tensor& a, const Tensor& b) {
  const Tensor ours = at::empty({a.size(0), b.size(1)}, at::kFloat);
  Tensor peer = at::empty(ours.sizes(), a.options());
  const double flops = 2.0 * static_cast<double>(a.size(0) * a.size(1) * b.size(1));
  const auto product = [=] {
    Tensor out = ours;  // the same memory
    multiply_into(out, a, b);
  };
  print_rates(what, flops, median_times(9, product, [&] { at::mm_out(peer, a, b); }));
  register_benchmark(std::string(what) + size + name_of(a.scalar_type()), flops, product);
}

void compare_layers(at::ScalarType type) {
  std::printf("%s, threads %d\n", name_of(type), at::get_num_threads());
  constexpr int64_t kSizes[][3] = {{2048, 2048, 2048}, {2048, 512, 512},  {2048, 512, 3072},
                                   {2048, 1536, 512},  {2048, 512, 8192}, {1024, 768, 3072}};
  for (const auto& [tokens, in, out] : kSizes) {
    std::printf("%ld tokens, %ld -> %ld\n", tokens, in, out);
    const Tensor x = at::randn({tokens, in}).to(type), weight = at::randn({out, in}).to(type);
    const Tensor dy = at::randn({tokens, out}).to(type);
    char size[64];
    std::snprintf(size, sizeof size, "/%ldx%ldx%ld/", tokens, in, out);
    compare("  y = x W^t  ", size, x, weight.t());
    compare("  dx = dy W  ", size, dy, weight);
    compare("  dW = dy^t x", size, dy.t(), x);
  }
}

// `rows` of each expert.
void compare_experts(at::ScalarType type, int64_t rows) {
  constexpr int64_t kExperts = 8, kIn = 512, kOut = 1536;
  const auto leaf = [&](std::vector<int64_t> shape) {
    return at::randn(shape).to(type).set_requires_grad(true);
  };
  const Tensor x = leaf({kExperts * rows, kIn}), weight = leaf({kExperts, kOut, kIn});
  const Tensor dy = at::randn({kExperts * rows, kOut}).to(type);
  const Tensor sum = at::zeros(weight.sizes(), at::kFloat);
  const RowGroups groups = row_groups(std::vector<int64_t>(kExperts, rows), at::kCPU);
  std::vector<Tensor> weights;
  for (int64_t e = 0; e < kExperts; ++e) weights.push_back(leaf({kOut, kIn}));
  const auto ours = [=] {
    grouped_linear(x, groups, weight, sum).backward(dy);
    x.mutable_grad() = Tensor();
  };
  const auto peer = [=] {
    std::vector<Tensor> parts;
    for (int64_t e = 0; e < kExperts; ++e) {
      parts.push_back(at::linear(x.narrow(0, e * rows, rows), weights[e]));
    }
    at::cat(parts).backward(dy);
    x.mutable_grad() = Tensor();
    for (const Tensor& w : weights) w.mutable_grad() = Tensor();
  };
  const double flops = 6.0 * static_cast<double>(kExperts * rows * kIn * kOut);
  char what[64];
  std::snprintf(what, sizeof what, "%s 8 experts, 512 -> 1536, %ld rows each", name_of(type), rows);
  print_rates(what, flops, median_times(9, ours, peer));
  register_benchmark(what, flops, ours);
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::keep_freed_pages();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) weft::compare_layers(type);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t rows : {128, 512}) weft::compare_experts(type, rows);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
