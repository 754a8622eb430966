// The selective scan, forward and backward, against a step-by-step loop in LibTorch operators over
// unbind(1) slices with one stack at the end. Prints the ratios; its bound and the share of it that
// is reached, and its parts; then Google Benchmark's table. Arguments: [Bz, T, D, N]. Then one
// token with a state, as in decoding.
#include <algorithm>
#include <numeric>
#include <vector>

#include "benchmark/benchmark.h"
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "bench/exponentials.h"
#include "bench/versus.h"
#include "models/kernels/selective_scan.h"
#include "trainer/memory_copy.h"

namespace weft {
namespace {

struct Size {
  int64_t batch, time, channels, states;
};

SelectiveScanInputs make_inputs(const Size& s, at::ScalarType type) {
  const auto leaf = [](const Tensor& t) { return t.detach().set_requires_grad(true); };
  const auto parameter = type == at::kDouble ? at::kDouble : at::kFloat;
  SelectiveScanInputs in;
  in.x = leaf(at::randn({s.batch, s.time, s.channels}).to(type));
  in.dt = leaf(at::randn({s.batch, s.time, s.channels}).to(type));
  in.b = leaf(at::randn({s.batch, s.time, s.states}).to(type));
  in.c = leaf(at::randn({s.batch, s.time, s.states}).to(type));
  in.z = leaf(at::randn({s.batch, s.time, s.channels}).to(type));
  in.a_log = leaf(at::rand({s.channels, s.states}).to(parameter));
  in.d = leaf(at::randn({s.channels}).to(parameter));
  in.dt_bias = leaf(at::randn({s.channels}).to(parameter) - 4);
  in.starts = at::zeros({s.batch, s.time}, at::kBool);
  return in;
}

// The peer: as written by hand in LibTorch, one document a row.
Tensor step_by_step(const SelectiveScanInputs& in) {
  const at::ScalarType compute = in.a_log.scalar_type();
  const Tensor x = in.x.to(compute), a = -in.a_log.exp();
  const Tensor delta = at::softplus(in.dt.to(compute) + in.dt_bias);
  const std::vector<Tensor> deltas = delta.unbind(1), inputs = (delta * x).unbind(1);
  const std::vector<Tensor> bs = in.b.to(compute).unbind(1), cs = in.c.to(compute).unbind(1);
  Tensor h = at::zeros({x.size(0), a.size(0), a.size(1)}, a.options());
  std::vector<Tensor> steps;
  for (size_t t = 0; t < deltas.size(); ++t) {
    h = (deltas[t].unsqueeze(-1) * a).exp() * h + inputs[t].unsqueeze(-1) * bs[t].unsqueeze(1);
    steps.push_back(h.matmul(cs[t].unsqueeze(-1)).squeeze(-1));
  }
  const Tensor y = at::stack(steps, 1) + in.d * x;
  return (y * at::silu(in.z.to(compute))).to(in.x.scalar_type());
}

template <class Scan>
void forward_backward(const Scan& scan, const SelectiveScanInputs& in) {
  const Tensor y = scan(in);
  y.backward(at::ones_like(y));
  for (const Tensor* t : {&in.x, &in.dt, &in.b, &in.c, &in.z, &in.a_log, &in.d, &in.dt_bias}) {
    t->mutable_grad() = Tensor{};
  }
}

const auto kOurs = [](const SelectiveScanInputs& in) { return selective_scan(in); };

void compare(const char* what, const Size& size, at::ScalarType type) {
  const SelectiveScanInputs in = make_inputs(size, type);
  print_ratio(
      what, "step-by-step loop", [&] { forward_backward(kOurs, in); },
      [&] { forward_backward(step_by_step, in); });
}

// Exponentials a second of numbers in the first-level caches, by all threads at once.
double rate_of_exponentials() {
  constexpr int kPasses = 20000;
  const int threads = at::get_num_threads();
  std::vector<double> rates(threads);
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      alignas(64) float from[kExponentials], to[kExponentials];
      for (int i = 0; i < kExponentials; ++i) from[i] = -0.01F * static_cast<float>(i);
      const double ms = median_ms(3, [&] { make_exponentials(from, to, kPasses); });
      rates[thread] = 1e3 * kPasses * kExponentials / ms;
    }
  });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

// The bound: the exponentials of both passes, one for each token, channel and state, at their
// routine's rate; or operands and results of both passes at the rate of a copy, whichever is
// slower.
void print_share_of_bound(const char* what, const Size& size, at::ScalarType type) {
  if (!cpu::is_supported(cpu::Isa::kAvx512)) return;
  const SelectiveScanInputs in = make_inputs(size, type);
  MemoryCopy memory;
  constexpr int kTurns = 9;
  std::vector<double> scan, exponentials, bytes;
  const double values = static_cast<double>(size.batch * size.time * size.channels);
  for (int turn = 0; turn < kTurns; ++turn) {
    scan.push_back(median_ms(9, [&] { forward_backward(kOurs, in); }));
    exponentials.push_back(2e3 * values * static_cast<double>(size.states) /
                           rate_of_exponentials());
    // x, dt, z, y; x, dt, z and the gradients of all four.
    const double moved = 11 * values * static_cast<double>(c10::elementSize(type));
    bytes.push_back(1e3 * moved / memory.copy_bandwidth());
  }
  const double bound = std::max(median(exponentials), median(bytes));
  std::printf("%s: %.2f ms, exponentials %.2f ms, bytes %.2f ms, %.0f %% of its bound\n", what,
              median(scan), median(exponentials), median(bytes), 100 * bound / median(scan));
}

// What each pass takes without states (reading and writing rows, with their pointwise functions)
// and with some.
void print_parts(at::ScalarType type) {
  for (const int64_t states : {0, 8, 16}) {
    const SelectiveScanInputs in = make_inputs({2, 1024, 1024, states}, type);
    constexpr int kTurns = 31;
    const double both = median_ms(kTurns, [&] { forward_backward(kOurs, in); });
    const double forward = median_ms(kTurns, [&] {
      const at::NoGradGuard no_grad;
      selective_scan(in);
    });
    std::printf("%s 2x1024x1024 with %2ld states: forward %.2f ms, backward %.2f ms\n",
                type == at::kFloat ? "fp32" : "bf16", states, forward, both - forward);
  }
}

void scan_forward(benchmark::State& state, at::ScalarType type) {
  const SelectiveScanInputs in =
      make_inputs({state.range(0), state.range(1), state.range(2), state.range(3)}, type);
  const at::NoGradGuard no_grad;
  for (auto _ : state) benchmark::DoNotOptimize(selective_scan(in));
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}

void scan_forward_backward(benchmark::State& state, at::ScalarType type) {
  const SelectiveScanInputs in =
      make_inputs({state.range(0), state.range(1), state.range(2), state.range(3)}, type);
  for (auto _ : state) forward_backward(kOurs, in);
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}

// One token of decoding, the state updated in place. Arguments: [Bz, D, N].
void scan_one_token(benchmark::State& state, at::ScalarType type) {
  const at::NoGradGuard no_grad;
  SelectiveScanInputs in = make_inputs({state.range(0), 1, state.range(1), state.range(2)}, type);
  in.initial_state =
      at::randn({state.range(0), state.range(1), state.range(2)}, in.a_log.options());
  for (auto _ : state) {
    benchmark::DoNotOptimize(selective_scan_with_state(in, in.initial_state));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void one_token_sizes(benchmark::internal::Benchmark* b) {
  b->Args({1, 1536, 16})->Args({1, 4096, 16})->Args({8, 1536, 16})->Args({8, 4096, 16});
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

void sizes(benchmark::internal::Benchmark* b) {
  b->Args({2, 1024, 1024, 16})->Args({1, 1025, 59, 17})->Args({8, 1024, 512, 16});
  b->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK_CAPTURE(scan_forward, fp32, at::kFloat)->Apply(sizes);
BENCHMARK_CAPTURE(scan_forward, bf16, at::kBFloat16)->Apply(sizes);
BENCHMARK_CAPTURE(scan_forward_backward, fp32, at::kFloat)->Apply(sizes);
BENCHMARK_CAPTURE(scan_forward_backward, bf16, at::kBFloat16)->Apply(sizes);
BENCHMARK_CAPTURE(scan_one_token, fp32, at::kFloat)->Apply(one_token_sizes);
BENCHMARK_CAPTURE(scan_one_token, bf16, at::kBFloat16)->Apply(one_token_sizes);

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::keep_freed_pages();
  std::printf("threads %d\n", at::get_num_threads());
  weft::compare("fp32 2x1024x1024x16 forward+backward", {2, 1024, 1024, 16}, at::kFloat);
  weft::compare("bf16 2x1024x1024x16 forward+backward", {2, 1024, 1024, 16}, at::kBFloat16);
  weft::compare("fp32 1x1025x59x17 forward+backward", {1, 1025, 59, 17}, at::kFloat);
  weft::print_share_of_bound("fp32 2x1024x1024x16 forward+backward", {2, 1024, 1024, 16},
                             at::kFloat);
  weft::print_share_of_bound("bf16 2x1024x1024x16 forward+backward", {2, 1024, 1024, 16},
                             at::kBFloat16);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) weft::print_parts(type);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
