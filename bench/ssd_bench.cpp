// The SSD operator, forward and backward, against a step-by-step loop in LibTorch operators over
// unbind(1) slices with one stack at the end. Prints the ratios, then Google Benchmark's table.
// Arguments: [Bz, T, Hs, P, G, N] and the chunk size.
#include <vector>

#include "benchmark/benchmark.h"
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "bench/versus.h"
#include "models/kernels/ssd.h"

namespace weft {
namespace {

struct Size {
  int64_t batch, time, heads, width, groups, states;
};

SsdInputs make_inputs(const Size& s, at::ScalarType type) {
  const auto leaf = [](const Tensor& t) { return t.detach().set_requires_grad(true); };
  SsdInputs in;
  in.x = leaf(at::randn({s.batch, s.time, s.heads, s.width}).to(type));
  in.dt = leaf((at::randn({s.batch, s.time, s.heads}) - 4).exp());
  in.a = leaf(-at::rand({s.heads}) * 15 - 1);
  in.b = leaf(at::randn({s.batch, s.time, s.groups, s.states}).to(type));
  in.c = leaf(at::randn({s.batch, s.time, s.groups, s.states}).to(type));
  in.d = leaf(at::randn({s.heads}));
  in.starts = at::zeros({s.batch, s.time}, at::kBool);
  return in;
}

// The peer: as written by hand in LibTorch, one document a row and one group of heads.
Tensor step_by_step(const SsdInputs& in) {
  const Tensor x = in.x.to(at::kFloat);
  const std::vector<Tensor> decays = (in.dt * in.a).exp().unbind(1);
  const std::vector<Tensor> inputs = (in.dt.unsqueeze(-1) * x).unbind(1);
  const std::vector<Tensor> bs = in.b.to(at::kFloat).unbind(1), cs = in.c.to(at::kFloat).unbind(1);
  Tensor h = at::zeros({x.size(0), x.size(2), x.size(3), in.b.size(3)}, in.dt.options());
  std::vector<Tensor> steps;
  for (size_t t = 0; t < inputs.size(); ++t) {
    h = decays[t].unsqueeze(-1).unsqueeze(-1) * h + inputs[t].unsqueeze(-1) * bs[t].unsqueeze(1);
    steps.push_back(h.matmul(cs[t].unsqueeze(-1)).squeeze(-1));
  }
  return (at::stack(steps, 1) + in.d.unsqueeze(-1) * x).to(in.x.scalar_type());
}

template <class Run>
void forward_backward(const Run& run, const SsdInputs& in) {
  const Tensor y = run(in);
  y.backward(at::ones_like(y));
  for (const Tensor* t : {&in.x, &in.dt, &in.a, &in.b, &in.c, &in.d}) t->mutable_grad() = Tensor{};
}

auto ours(int64_t chunk_size) {
  return [chunk_size](const SsdInputs& in) { return ssd(in, chunk_size).y; };
}

void compare(const char* what, const Size& size, at::ScalarType type, int64_t chunk_size) {
  const SsdInputs in = make_inputs(size, type);
  print_ratio(
      what, "step-by-step loop", [&] { forward_backward(ours(chunk_size), in); },
      [&] { forward_backward(step_by_step, in); });
}

SsdInputs inputs_of(const benchmark::State& state, at::ScalarType type) {
  return make_inputs({state.range(0), state.range(1), state.range(2), state.range(3),
                      state.range(4), state.range(5)},
                     type);
}

void ssd_forward(benchmark::State& state, at::ScalarType type) {
  const SsdInputs in = inputs_of(state, type);
  const at::NoGradGuard no_grad;
  for (auto _ : state) benchmark::DoNotOptimize(ssd(in, state.range(6)).y);
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}

void ssd_forward_backward(benchmark::State& state, at::ScalarType type) {
  const SsdInputs in = inputs_of(state, type);
  for (auto _ : state) forward_backward(ours(state.range(6)), in);
  state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int64_t chunk_size : {32, 64, 128, 256})
    b->Args({1, 1024, 24, 64, 1, 128, chunk_size});
  b->Args({8, 512, 8, 64, 1, 64, 64})->Args({1, 1025, 7, 59, 1, 17, 64});
  b->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK_CAPTURE(ssd_forward, fp32, at::kFloat)->Apply(sizes);
BENCHMARK_CAPTURE(ssd_forward, bf16, at::kBFloat16)->Apply(sizes);
BENCHMARK_CAPTURE(ssd_forward_backward, fp32, at::kFloat)->Apply(sizes);
BENCHMARK_CAPTURE(ssd_forward_backward, bf16, at::kBFloat16)->Apply(sizes);

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::keep_freed_pages();
  std::printf("threads %d\n", at::get_num_threads());
  weft::compare("fp32 1x512x8x64x1x64 in 64s, forward+backward", {1, 512, 8, 64, 1, 64}, at::kFloat,
                64);
  weft::compare("bf16 1x512x8x64x1x64 in 64s, forward+backward", {1, 512, 8, 64, 1, 64},
                at::kBFloat16, 64);
  weft::compare("fp32 1x513x7x59x1x17 in 64s, forward+backward", {1, 513, 7, 59, 1, 17}, at::kFloat,
                64);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
