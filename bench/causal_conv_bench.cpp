// The causal convolution with silu, forward and backward: Google Benchmark's table with bytes per
// second: forward reads x and writes y, backward reads x and dy and writes dx. Arguments: [Bz, T,
// D]. Then one token with a window, as in decoding. bench/pointwise_bench.cpp sets it beside
// LibTorch's.
#include "benchmark/benchmark.h"
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "bench/versus.h"
#include "models/kernels/causal_conv.h"

namespace weft {
namespace {

constexpr int64_t kTaps = 4;

struct Inputs {
  Tensor x, weight, bias, starts;
};

Inputs make_inputs(int64_t batch, int64_t time, int64_t channels, at::ScalarType type) {
  const auto leaf = [&](at::IntArrayRef sizes) {
    return at::randn(sizes).to(type).set_requires_grad(true);
  };
  return {leaf({batch, time, channels}), leaf({channels, kTaps}), leaf({channels}),
          at::zeros({batch, time}, at::kBool)};
}

Tensor ours(const Inputs& in) { return causal_conv_silu(in.x, in.weight, in.bias, in.starts); }

void forward_backward(const Inputs& in) {
  const Tensor y = ours(in);
  y.backward(at::ones_like(y));
  for (const Tensor* t : {&in.x, &in.weight, &in.bias}) t->mutable_grad() = Tensor{};
}

void conv_forward(benchmark::State& state, at::ScalarType type) {
  const Inputs in = make_inputs(state.range(0), state.range(1), state.range(2), type);
  const at::NoGradGuard no_grad;
  for (auto _ : state) benchmark::DoNotOptimize(ours(in));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * in.x.nbytes() * 2));
}

void conv_forward_backward(benchmark::State& state, at::ScalarType type) {
  const Inputs in = make_inputs(state.range(0), state.range(1), state.range(2), type);
  for (auto _ : state) forward_backward(in);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * in.x.nbytes() * 5));
}

// One token of decoding. Arguments: [Bz, D].
void conv_one_token(benchmark::State& state, at::ScalarType type) {
  const at::NoGradGuard no_grad;
  const Inputs in = make_inputs(state.range(0), 1, state.range(1), type);
  Tensor window = at::randn({state.range(0), kTaps - 1, state.range(1)}).to(type);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        causal_conv_silu_with_state(in.x, in.weight, in.bias, in.starts, window));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void one_token_sizes(benchmark::internal::Benchmark* b) {
  b->Args({1, 1536})->Args({1, 4096})->Args({8, 1536})->Args({8, 4096});
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

void sizes(benchmark::internal::Benchmark* b) {
  b->Args({2, 1024, 1024})->Args({1, 1025, 59})->Args({8, 1024, 512});
  b->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK_CAPTURE(conv_forward, fp32, at::kFloat)->Apply(sizes);
BENCHMARK_CAPTURE(conv_forward, bf16, at::kBFloat16)->Apply(sizes);
BENCHMARK_CAPTURE(conv_forward_backward, fp32, at::kFloat)->Apply(sizes);
BENCHMARK_CAPTURE(conv_forward_backward, bf16, at::kBFloat16)->Apply(sizes);
BENCHMARK_CAPTURE(conv_one_token, fp32, at::kFloat)->Apply(one_token_sizes);
BENCHMARK_CAPTURE(conv_one_token, bf16, at::kBFloat16)->Apply(one_token_sizes);

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::keep_freed_pages();
  std::printf("threads %d\n", at::get_num_threads());
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
