// The kernels that do little but read and write, forward and backward where they have both, each
// against LibTorch's operators, at the sizes of bench/steps/llama.yaml: 2 x 1,024 tokens, hidden
// size 512, intermediate size 1,536, 8 heads, a vocabulary of 8,192, 31.5 M parameters. Prints the
// times, their ratio, and the bandwidth of operands and results, each counted once a pass, with its
// share of a copy's; then Google Benchmark's table. For the ratios both sides and the copy take
// turns, of which the fastest count, and a copy empties the caches before each; in the table
// operands stay in the caches as far as they fit.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include "bench/versus.h"
#include "models/kernels/adamw.h"
#include "models/kernels/cross_entropy.h"
#include "models/kernels/expert_rows.h"
#include "models/kernels/gelu.h"
#include "models/kernels/layer_norm.h"
#include "models/kernels/rms_norm.h"
#include "models/kernels/rotate.h"
#include "models/kernels/silu_mul.h"
#include "models/kernels/ssd_states.h"
#include "models/kernels/sum_of_squares.h"
#include "trainer/memory_copy.h"

namespace weft {
namespace {

constexpr int64_t kBatch = 2, kTime = 1024, kTokens = kBatch * kTime, kHidden = 512;
constexpr int64_t kIntermediate = 1536, kHeads = 8, kVocab = 8192, kLayers = 8;
constexpr double kEps = 1e-5;
constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr int kTurns = 25;
constexpr int64_t kCopiedBytes = 128 << 20;  // by one copy; half of them are more than the caches

// Both sides of a comparison; `bytes` are what ours must move.
struct Case {
  double bytes;
  std::function<void()> ours;
  std::function<void()> peer;
};

struct Kernel {
  const char *name, *size, *peer_name;
  std::function<Case(at::ScalarType)> make;
  std::vector<at::ScalarType> types = {at::kFloat, at::kBFloat16};
};

const char* name_of(at::ScalarType type) { return type == at::kFloat ? "fp32" : "bf16"; }

Tensor leaf(at::IntArrayRef sizes, at::ScalarType type) {
  return at::randn(sizes).to(type).set_requires_grad(true);
}

std::vector<Tensor> as_list(const Tensor& t) { return {t}; }
std::vector<Tensor> as_list(std::vector<Tensor> list) { return list; }

// f() of some leaves, a tensor or several, and their gradients of as many given ones.
template <class Ours, class Peer>
Case differentiated(const std::vector<Tensor>& leaves, const std::vector<Tensor>& dy, double bytes,
                    const Ours& ours, const Peer& peer) {
  const auto run = [=](const auto& f) {
    torch::autograd::backward(as_list(f()), dy);
    for (const Tensor& t : leaves) t.mutable_grad() = Tensor{};
  };
  return {bytes, [=] { run(ours); }, [=] { run(peer); }};
}

Case make_silu_mul(at::ScalarType type) {
  const Tensor gate = leaf({kTokens, kIntermediate}, type), up = leaf(gate.sizes(), type);
  return differentiated(
      {gate, up}, {at::randn(gate.sizes()).to(type)}, 8.0 * gate.nbytes(),
      [=] { return silu_mul(gate, up); }, [=] { return at::silu(gate) * up; });
}

Case make_gelu(at::ScalarType type) {
  const Tensor x = leaf({kTokens, kIntermediate}, type);
  return differentiated(
      {x}, {at::randn(x.sizes()).to(type)}, 5.0 * x.nbytes(), [=] { return gelu_tanh(x); },
      [=] { return at::gelu(x, "tanh"); });
}

Case make_layer_norm(at::ScalarType type) {
  const Tensor x = leaf({kTokens, kHidden}, type);
  const Tensor weight = leaf({kHidden}, at::kFloat), bias = leaf({kHidden}, at::kFloat);
  return differentiated(
      {x, weight, bias}, {at::randn(x.sizes()).to(type)}, 5.0 * x.nbytes(),
      [=] { return layer_norm(x, weight, bias, kEps); },
      [=] { return at::layer_norm(x, weight.sizes(), weight, bias, kEps); });
}

Case make_rms_norm(at::ScalarType type) {
  const Tensor x = leaf({kTokens, kHidden}, type), weight = leaf({kHidden}, type);
  return differentiated(
      {x, weight}, {at::randn(x.sizes()).to(type)}, 5.0 * x.nbytes(),
      [=] { return rms_norm(x, weight, kEps); },
      [=] { return at::rms_norm(x, weight.sizes(), weight, kEps); });
}

// What flows back into the sum comes from the norm and from the residual stream behind it.
Case make_add_rms_norm(at::ScalarType type) {
  const Tensor x = leaf({kTokens, kHidden}, type), added = leaf(x.sizes(), type);
  const Tensor weight = leaf({kHidden}, at::kFloat), own = leaf({kHidden}, type);
  const std::vector<Tensor> dy = {at::randn(x.sizes()).to(type), at::randn(x.sizes()).to(type)};
  return differentiated(
      {x, added, weight, own}, dy, 8.0 * x.nbytes(),
      [=] {
        const AddedNorm out = add_rms_norm(x, added, weight, kEps);
        return std::vector<Tensor>{out.sum, out.normed};
      },
      [=] {
        const Tensor sum = x + added;
        return std::vector<Tensor>{sum, at::rms_norm(sum, weight.sizes(), own, kEps)};
      });
}

// Heads where a joint projection of queries, keys and values left them.
Case make_norm_rotate(at::ScalarType type) {
  constexpr int64_t kWidth = kHidden / kHeads;
  const Tensor qkv = at::randn({kBatch, kTime, 3 * kHeads, kWidth}).to(type);
  const Tensor x = qkv.narrow(2, 0, kHeads).detach().set_requires_grad(true);
  const Tensor weight = leaf({kWidth}, at::kFloat), own = leaf({kWidth}, type);
  const Tensor cos = at::rand({kBatch, kTime, 1, kWidth}).to(type);
  const Tensor sin = at::rand(cos.sizes()).to(type);
  const double bytes = 5.0 * static_cast<double>(x.numel() * x.element_size()) + 4.0 * cos.nbytes();
  return differentiated(
      {x, weight, own}, {at::randn(x.sizes()).to(type)}, bytes,
      [=] {
        return norm_rotate(x, {weight, kEps}, cos, sin);
      },
      [=] { return rotate_reference(at::rms_norm(x, weight.sizes(), own, kEps), cos, sin); });
}

Case make_rotate(at::ScalarType type) {
  constexpr int64_t kWidth = kHidden / kHeads;
  const Tensor x = leaf({kBatch, kTime, kHeads, kWidth}, type);
  const Tensor cos = at::rand({kBatch, kTime, 1, kWidth}).to(type);
  const Tensor sin = at::rand(cos.sizes()).to(type);
  const double bytes = 4.0 * x.nbytes() + 4.0 * cos.nbytes();
  return differentiated(
      {x}, {at::randn(x.sizes()).to(type)}, bytes, [=] { return rotate(x, cos, sin); },
      [=] { return rotate_reference(x, cos, sin); });
}

// 8 experts, 2 a token, beside what a gather, a weighted sum and their gradients are in operators.
Case make_expert_rows(at::ScalarType type) {
  constexpr int64_t kExperts = 8, kTopK = 2;
  const Tensor x = leaf({kTokens, kHidden}, type), weights = leaf({kTokens, kTopK}, at::kFloat);
  const Tensor ranking = std::get<1>(at::rand({kTokens, kExperts}).topk(kTopK, -1));
  const Tensor chosen = std::get<0>(ranking.sort(-1));
  const ExpertRows rows = expert_rows(chosen, kExperts, /*multiple=*/64);
  const Tensor tokens_of_rows = rows.assignment.clamp_min(0).floor_divide(kTopK);
  const double routed = static_cast<double>(kTopK * x.nbytes());
  // Forward x to rows, rows to y; backward dy and rows to rows and weights, rows to dx.
  return differentiated(
      {x, weights}, {at::randn(x.sizes()).to(type)}, 5 * routed + 4.0 * x.nbytes(),
      [=] { return from_experts(to_experts(x, rows), weights, rows); },
      [=] {
        const Tensor routed_rows = x.index_select(0, tokens_of_rows);
        const Tensor back =
            routed_rows.index_select(0, rows.row.reshape(-1)).view({kTokens, kTopK, kHidden});
        return (back.to(at::kFloat) * weights.unsqueeze(-1)).sum(1).to(type);
      });
}

// Mamba-2's states of 2 x 1,024 tokens in chunks of 64: 16 heads of 64 x 128; in fp32 alone.
Case make_ssd_states(at::ScalarType) {
  constexpr int64_t kChunks = kTime / 64, kStateHeads = 16, kWidth = 64, kStates = 128;
  const Tensor added = at::randn({kBatch, kChunks, kStateHeads, kWidth, kStates});
  const Tensor carry = at::rand({kBatch, kChunks, kStateHeads});
  const Tensor state = at::zeros({kBatch, kStateHeads, kWidth, kStates});
  const Tensor entering = at::randn(added.sizes());
  const auto run = [=](const auto& forward, const auto& backward) {
    forward(added, carry, state);
    benchmark::DoNotOptimize(backward(added, carry, entering, state));
  };
  return {5.0 * added.nbytes(),
          [=] {
            run([](auto&&... of) { internal::pass_states(of...); },
                [](auto&&... of) { return internal::pass_state_gradients(of...); });
          },
          [=] { run(internal::pass_states_reference, internal::pass_state_gradients_reference); }};
}

// Each turn's logits are the gradient that the last one left in their place.
Case make_cross_entropy(at::ScalarType type) {
  const Tensor logits = at::randn({kTokens, kVocab}).to(type);
  const Tensor targets = at::randint(kVocab, {kTokens}, at::kLong);
  constexpr double kScale = 1.0 / kTokens;
  const auto run = [=](const auto& loss) {
    Tensor in_place = logits;
    loss(in_place);
  };
  return {
      2.0 * logits.nbytes(),
      [=] { run([&](Tensor& z) { cross_entropy(z, targets, {}, kScale); }); },
      [=] { run([&](Tensor& z) { cross_entropy_reference(z, targets, {}, kScale); }); },
  };
}

// made(sizes) for all parameters.
template <class F>
std::vector<Tensor> for_parameters(const F& made) {
  std::vector<Tensor> all = {made({kVocab, kHidden}), made({kHidden})};
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int i = 0; i < 2; ++i) all.push_back(made({kHidden}));           // norms
    for (int i = 0; i < 4; ++i) all.push_back(made({kHidden, kHidden}));  // q, k, v, o
    for (int i = 0; i < 2; ++i) all.push_back(made({kIntermediate, kHidden}));
    all.push_back(made({kHidden, kIntermediate}));
  }
  return all;
}

std::vector<Tensor> random_parameters() {
  return for_parameters([](std::vector<int64_t> sizes) { return at::randn(sizes); });
}

double bytes_of(const std::vector<Tensor>& tensors) {
  double bytes = 0;
  for (const Tensor& t : tensors) bytes += static_cast<double>(t.nbytes());
  return bytes;
}

// With bf16: masters in fp32 and their copies in bf16, which LibTorch writes in a second pass.
Case make_adamw(at::ScalarType type) {
  const std::vector<Tensor> masters = random_parameters(), gradients = random_parameters();
  std::vector<Tensor> m, v, copies, numbers;
  std::vector<AdamWTensors> parameters;
  for (size_t i = 0; i < masters.size(); ++i) {
    m.push_back(at::zeros_like(masters[i]));
    v.push_back(at::zeros_like(masters[i]));
    numbers.push_back(at::full({}, 1.0, at::kFloat));
    if (type == at::kBFloat16) copies.push_back(masters[i].to(type));
    parameters.push_back(
        {masters[i], gradients[i], m[i], v[i], copies.empty() ? Tensor{} : copies[i]});
  }
  const AdamWStep step{.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
  const auto peer = [=] {
    at::_fused_adamw_(masters, gradients, m, v, /*max_exp_avg_sqs=*/{}, numbers, step.lr,
                      step.beta1, step.beta2, step.weight_decay, step.eps, /*amsgrad=*/false,
                      /*maximize=*/false);
    for (size_t i = 0; i < copies.size(); ++i) copies[i].copy_(masters[i]);
    for (const Tensor& gradient : gradients) gradient.zero_();
  };
  // Reads and writes masters, gradients and both moments; writes copies.
  return {8 * bytes_of(masters) + bytes_of(copies), [=] { adamw(parameters, step); }, peer};
}

Case make_sum_of_squares(at::ScalarType) {
  const std::vector<Tensor> gradients = random_parameters();
  return {bytes_of(gradients), [=] { benchmark::DoNotOptimize(sum_of_squares(gradients)); },
          [=] {
            const Tensor norms = at::stack(at::_foreach_norm(gradients, 2));
            benchmark::DoNotOptimize(norms.square().sum().item<double>());
          }};
}

std::vector<Kernel> all_kernels() {
  return {{"silu_mul", "2048x1536", "silu and mul", make_silu_mul},
          {"gelu", "2048x1536", "at::gelu", make_gelu},
          {"layer_norm", "2048x512", "at::layer_norm", make_layer_norm},
          {"rms_norm", "2048x512", "at::rms_norm", make_rms_norm},
          {"add_rms_norm", "2048x512", "+ and at::rms_norm", make_add_rms_norm},
          {"norm_rotate", "2x1024x8x64", "at::rms_norm and plain operators", make_norm_rotate},
          {"rotate", "2x1024x8x64", "plain operators", make_rotate},
          {"expert_rows", "2048x512, 2/8", "plain operators", make_expert_rows},
          {"ssd_states", "2x16x16x64x128", "plain operators", make_ssd_states, {at::kFloat}},
          {"cross_entropy", "2048x8192", "plain operators", make_cross_entropy},
          {"adamw", "31.5 M", "at::_fused_adamw_", make_adamw},
          {"sum_of_squares", "31.5 M", "at::_foreach_norm", make_sum_of_squares, {at::kFloat}}};
}

struct Best {
  double ours_ms = kNever, peer_ms = kNever, copy_ms = kNever;
};

Best measure(const Case& c, MemoryCopy& memory) {
  const auto keep_best = [](double& best, const auto& f) { best = std::min(best, time_ms(f)); };
  Best best;
  c.ours();
  c.peer();
  for (int i = 0; i < kTurns; ++i) {
    keep_best(best.copy_ms, [&] { memory.copy(kCopiedBytes); });
    keep_best(best.ours_ms, c.ours);
    keep_best(best.copy_ms, [&] { memory.copy(kCopiedBytes); });
    keep_best(best.peer_ms, c.peer);
  }
  return best;
}

void compare(const Kernel& kernel, at::ScalarType type, MemoryCopy& memory) {
  const Case c = kernel.make(type);
  const Best best = measure(c, memory);
  const double moved = c.bytes / best.ours_ms / 1e6, copied = kCopiedBytes / best.copy_ms / 1e6;
  std::printf(
      "%s %-14s %-11s: weft %6.2f ms, %5.1f GB/s, %3.0f %% of copy (%.1f); %s %6.2f ms, ratio "
      "%.2f\n",
      name_of(type), kernel.name, kernel.size, best.ours_ms, moved, 100 * moved / copied, copied,
      kernel.peer_name, best.peer_ms, best.peer_ms / best.ours_ms);
  std::fflush(stdout);
}

void compare_all(const std::vector<Kernel>& kernels) {
  MemoryCopy memory;
  std::printf("threads %d\n", at::get_num_threads());
  for (const Kernel& kernel : kernels) {
    for (const at::ScalarType type : kernel.types) compare(kernel, type, memory);
  }
}

void register_all(const std::vector<Kernel>& kernels) {
  for (const Kernel& kernel : kernels) {
    for (const at::ScalarType type : kernel.types) {
      const std::string name = std::string(kernel.name) + "/" + name_of(type);
      benchmark::RegisterBenchmark(
          name.c_str(),
          [=](benchmark::State& state) {
            const Case c = kernel.make(type);
            for (auto _ : state) c.ours();
            state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(c.bytes));
          })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::keep_freed_pages();
  const std::vector<weft::Kernel> kernels = weft::all_kernels();
  weft::compare_all(kernels);
  weft::register_all(kernels);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
