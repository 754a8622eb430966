// The kernels that do little but read and write, forward and backward where they have both, each
// against LibTorch's operators, at the sizes of bench/steps/llama.yaml: 1,024 tokens a row, hidden
// size 512, intermediate size 1,536, 8 heads, a vocabulary of 8,192, 31.5 M parameters; 2 rows on
// the CPU, 16 on a GPU. Prints the times, their ratio, and the bandwidth of operands and results,
// each counted once a pass, with its share of a copy's; then Google Benchmark's table. For the
// ratios both sides and the copy take turns, of which the fastest count, and a copy empties the
// caches before each; in the table operands stay in the caches as far as they fit.
// `--device cuda` for a GPU.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/conv1d.h>
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

#include "bench/device_timer.h"
#include "bench/versus.h"
#include "models/kernels/adamw.h"
#include "models/kernels/causal_conv.h"
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

constexpr int64_t kTime = 1024, kHidden = 512, kIntermediate = 1536, kHeads = 8, kVocab = 8192;
constexpr int64_t kLayers = 8;
constexpr double kEps = 1e-5;
constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr int kTurns = 25;
constexpr int64_t kCopiedBytes = 128 << 20;  // by one copy; half of them are more than the caches

// What a kernel is measured on.
struct Setting {
  at::Device device;
  at::ScalarType type;

  int64_t batch() const { return device.is_cuda() ? 16 : 2; }
  int64_t tokens() const { return batch() * kTime; }
  at::TensorOptions options(at::ScalarType other) const {
    return at::TensorOptions(device).dtype(other);
  }
  Tensor normal(at::IntArrayRef sizes) const { return at::randn(sizes, options(type)); }
  Tensor leaf(at::IntArrayRef sizes, at::ScalarType other) const {
    return at::randn(sizes, options(other)).set_requires_grad(true);
  }
  Tensor leaf(at::IntArrayRef sizes) const { return leaf(sizes, type); }
};

// Both sides of a comparison; `bytes` are what ours must move.
struct Case {
  std::string size;
  double bytes;
  std::function<void()> ours;
  std::function<void()> peer;
};

struct Kernel {
  const char *name, *peer_name;
  std::function<Case(const Setting&)> make;
  std::vector<at::ScalarType> types = {at::kFloat, at::kBFloat16};
};

const char* name_of(at::ScalarType type) { return type == at::kFloat ? "fp32" : "bf16"; }

// As 2x1024.
std::string size_of(const Tensor& t) {
  std::ostringstream size;
  for (int64_t i = 0; i < t.dim(); ++i) size << (i > 0 ? "x" : "") << t.size(i);
  return size.str();
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
  return {size_of(leaves[0]), bytes, [=] { run(ours); }, [=] { run(peer); }};
}

Case make_silu_mul(const Setting& of) {
  const Tensor gate = of.leaf({of.tokens(), kIntermediate}), up = of.leaf(gate.sizes());
  return differentiated(
      {gate, up}, {of.normal(gate.sizes())}, 8.0 * gate.nbytes(),
      [=] { return silu_mul(gate, up); }, [=] { return at::silu(gate) * up; });
}

Case make_gelu(const Setting& of) {
  const Tensor x = of.leaf({of.tokens(), kIntermediate});
  return differentiated(
      {x}, {of.normal(x.sizes())}, 5.0 * x.nbytes(), [=] { return gelu_tanh(x); },
      [=] { return at::gelu(x, "tanh"); });
}

Case make_layer_norm(const Setting& of) {
  const Tensor x = of.leaf({of.tokens(), kHidden});
  const Tensor weight = of.leaf({kHidden}, at::kFloat), bias = of.leaf({kHidden}, at::kFloat);
  return differentiated(
      {x, weight, bias}, {of.normal(x.sizes())}, 5.0 * x.nbytes(),
      [=] { return layer_norm(x, weight, bias, kEps); },
      [=] { return at::layer_norm(x, weight.sizes(), weight, bias, kEps); });
}

Case make_rms_norm(const Setting& of) {
  const Tensor x = of.leaf({of.tokens(), kHidden}), weight = of.leaf({kHidden});
  return differentiated(
      {x, weight}, {of.normal(x.sizes())}, 5.0 * x.nbytes(),
      [=] { return rms_norm(x, weight, kEps); },
      [=] { return at::rms_norm(x, weight.sizes(), weight, kEps); });
}

// What flows back into the sum comes from the norm and from the residual stream behind it.
Case make_add_rms_norm(const Setting& of) {
  const Tensor x = of.leaf({of.tokens(), kHidden}), added = of.leaf(x.sizes());
  const Tensor weight = of.leaf({kHidden}, at::kFloat), own = of.leaf({kHidden});
  const std::vector<Tensor> dy = {of.normal(x.sizes()), of.normal(x.sizes())};
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
Case make_norm_rotate(const Setting& of) {
  constexpr int64_t kWidth = kHidden / kHeads;
  const Tensor qkv = of.normal({of.batch(), kTime, 3 * kHeads, kWidth});
  const Tensor x = qkv.narrow(2, 0, kHeads).detach().set_requires_grad(true);
  const Tensor weight = of.leaf({kWidth}, at::kFloat), own = of.leaf({kWidth});
  const Tensor cos = at::rand({of.batch(), kTime, 1, kWidth}, of.options(of.type));
  const Tensor sin = at::rand(cos.sizes(), cos.options());
  const double bytes = 5.0 * static_cast<double>(x.numel() * x.element_size()) + 4.0 * cos.nbytes();
  return differentiated(
      {x, weight, own}, {of.normal(x.sizes())}, bytes,
      [=] {
        return norm_rotate(x, {weight, kEps}, cos, sin);
      },
      [=] { return rotate_reference(at::rms_norm(x, weight.sizes(), own, kEps), cos, sin); });
}

Case make_rotate(const Setting& of) {
  constexpr int64_t kWidth = kHidden / kHeads;
  const Tensor x = of.leaf({of.batch(), kTime, kHeads, kWidth});
  const Tensor cos = at::rand({of.batch(), kTime, 1, kWidth}, of.options(of.type));
  const Tensor sin = at::rand(cos.sizes(), cos.options());
  const double bytes = 4.0 * x.nbytes() + 4.0 * cos.nbytes();
  return differentiated(
      {x}, {of.normal(x.sizes())}, bytes, [=] { return rotate(x, cos, sin); },
      [=] { return rotate_reference(x, cos, sin); });
}

// 8 experts, 2 a token, beside what a gather, a weighted sum and their gradients are in operators.
Case make_expert_rows(const Setting& of) {
  constexpr int64_t kExperts = 8, kTopK = 2;
  const Tensor x = of.leaf({of.tokens(), kHidden}),
               weights = of.leaf({of.tokens(), kTopK}, at::kFloat);
  const Tensor ranking =
      std::get<1>(at::rand({of.tokens(), kExperts}, of.options(at::kFloat)).topk(kTopK, -1));
  const Tensor chosen = std::get<0>(ranking.sort(-1));
  const ExpertRows rows = expert_rows(chosen, kExperts, /*multiple=*/64);
  const Tensor tokens_of_rows = rows.assignment.clamp_min(0).floor_divide(kTopK);
  const double routed = static_cast<double>(kTopK * x.nbytes());
  // Forward x to rows, rows to y; backward dy and rows to rows and weights, rows to dx.
  return differentiated(
      {x, weights}, {of.normal(x.sizes())}, 5 * routed + 4.0 * x.nbytes(),
      [=] { return from_experts(to_experts(x, rows), weights, rows); },
      [=] {
        const Tensor routed_rows = x.index_select(0, tokens_of_rows);
        const Tensor back =
            routed_rows.index_select(0, rows.row.reshape(-1)).view({of.tokens(), kTopK, kHidden});
        return (back.to(at::kFloat) * weights.unsqueeze(-1)).sum(1).to(of.type);
      });
}

// Mamba's convolution: 1,024 channels, 4 taps, without documents, which conv1d cannot keep apart.
Case make_conv(const Setting& of) {
  constexpr int64_t kChannels = 2 * kHidden, kTaps = 4;
  const Tensor x = of.leaf({of.batch(), kTime, kChannels});
  const Tensor weight = of.leaf({kChannels, kTaps}), bias = of.leaf({kChannels});
  const Tensor starts = at::zeros({of.batch(), kTime}, of.options(at::kBool));
  return differentiated(
      {x, weight, bias}, {of.normal(x.sizes())}, 5.0 * x.nbytes(),
      [=] { return causal_conv_silu(x, weight, bias, starts); },
      [=] {
        const Tensor sum = at::conv1d(x.transpose(1, 2), weight.unsqueeze(1), bias, /*stride=*/1,
                                      /*padding=*/kTaps - 1, /*dilation=*/1, kChannels);
        return at::silu(sum.narrow(2, 0, kTime).transpose(1, 2));
      });
}

// Mamba-2's states of all tokens in chunks of 64: 16 heads of 64 x 128; in fp32 alone.
Case make_ssd_states(const Setting& of) {
  constexpr int64_t kChunks = kTime / 64, kStateHeads = 16, kWidth = 64, kStates = 128;
  const Tensor added = of.normal({of.batch(), kChunks, kStateHeads, kWidth, kStates});
  const Tensor carry = at::rand({of.batch(), kChunks, kStateHeads}, added.options());
  const Tensor state = at::zeros({of.batch(), kStateHeads, kWidth, kStates}, added.options());
  const Tensor entering = of.normal(added.sizes());
  const auto run = [=](const auto& forward, const auto& backward) {
    forward(added, carry, state);
    benchmark::DoNotOptimize(backward(added, carry, entering, state));
  };
  return {size_of(added), 5.0 * added.nbytes(),
          [=] {
            run([](auto&&... in) { internal::pass_states(in...); },
                [](auto&&... in) { return internal::pass_state_gradients(in...); });
          },
          [=] { run(internal::pass_states_reference, internal::pass_state_gradients_reference); }};
}

// Each turn's logits are the gradient that the last one left in their place.
Case make_cross_entropy(const Setting& of) {
  const Tensor logits = of.normal({of.tokens(), kVocab});
  const Tensor targets = at::randint(kVocab, {of.tokens()}, of.options(at::kLong));
  const double scale = 1.0 / static_cast<double>(of.tokens());
  const auto run = [=](const auto& loss) {
    Tensor in_place = logits;
    loss(in_place);
  };
  return {
      size_of(logits),
      2.0 * logits.nbytes(),
      [=] { run([&](Tensor& z) { cross_entropy(z, targets, {}, scale); }); },
      [=] { run([&](Tensor& z) { cross_entropy_reference(z, targets, {}, scale); }); },
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

std::vector<Tensor> random_parameters(const Setting& of) {
  const auto options = of.options(at::kFloat);
  return for_parameters([&](std::vector<int64_t> sizes) { return at::randn(sizes, options); });
}

double bytes_of(const std::vector<Tensor>& tensors) {
  double bytes = 0;
  for (const Tensor& t : tensors) bytes += static_cast<double>(t.nbytes());
  return bytes;
}

std::string parameters_of(const std::vector<Tensor>& tensors) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f M", bytes_of(tensors) / sizeof(float) / 1e6);
  return text;
}

// With bf16: masters in fp32 and their copies in bf16, which LibTorch writes in a second pass.
Case make_adamw(const Setting& of) {
  const std::vector<Tensor> masters = random_parameters(of), gradients = random_parameters(of);
  std::vector<Tensor> m, v, copies, numbers;
  std::vector<AdamWTensors> parameters;
  for (size_t i = 0; i < masters.size(); ++i) {
    m.push_back(at::zeros_like(masters[i]));
    v.push_back(at::zeros_like(masters[i]));
    numbers.push_back(at::full({}, 1.0, of.options(at::kFloat)));
    if (of.type == at::kBFloat16) copies.push_back(masters[i].to(of.type));
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
  return {parameters_of(masters), 8 * bytes_of(masters) + bytes_of(copies),
          [=] { adamw(parameters, step); }, peer};
}

Case make_sum_of_squares(const Setting& of) {
  const std::vector<Tensor> gradients = random_parameters(of);
  return {parameters_of(gradients), bytes_of(gradients),
          [=] { benchmark::DoNotOptimize(sum_of_squares(gradients)); },
          [=] {
            const Tensor norms = at::stack(at::_foreach_norm(gradients, 2));
            benchmark::DoNotOptimize(norms.square().sum().item<double>());
          }};
}

std::vector<Kernel> all_kernels() {
  return {{"silu_mul", "silu and mul", make_silu_mul},
          {"gelu", "at::gelu", make_gelu},
          {"layer_norm", "at::layer_norm", make_layer_norm},
          {"rms_norm", "at::rms_norm", make_rms_norm},
          {"add_rms_norm", "+ and at::rms_norm", make_add_rms_norm},
          {"norm_rotate", "at::rms_norm and plain operators", make_norm_rotate},
          {"rotate", "plain operators", make_rotate},
          {"expert_rows", "plain operators", make_expert_rows},
          {"conv_silu", "at::conv1d and silu", make_conv},
          {"ssd_states", "plain operators", make_ssd_states, {at::kFloat}},
          {"cross_entropy", "plain operators", make_cross_entropy},
          {"adamw", "at::_fused_adamw_", make_adamw},
          {"sum_of_squares", "at::_foreach_norm", make_sum_of_squares, {at::kFloat}}};
}

// Copies half as many bytes as are moved, past the caches on the CPU.
class Copy {
 public:
  explicit Copy(at::Device device) {
    if (device.is_cpu()) {
      memory_.emplace();
    } else {
      from_ = at::zeros({kCopiedBytes / 2}, at::TensorOptions(device).dtype(at::kByte));
      to_ = at::zeros_like(from_);
    }
  }

  void run() {
    if (memory_) {
      memory_->copy(kCopiedBytes);
    } else {
      to_.copy_(from_);
    }
  }

 private:
  std::optional<MemoryCopy> memory_;
  Tensor from_, to_;
};

struct Best {
  double ours_ms = kNever, peer_ms = kNever, copy_ms = kNever;
};

Best measure(const Case& c, at::Device device, Copy& copy) {
  const auto keep_best = [&](double& best, const auto& f) {
    const DeviceTimer timer(device);
    f();
    best = std::min(best, timer.ms());
  };
  Best best;
  c.ours();
  c.peer();
  for (int i = 0; i < kTurns; ++i) {
    keep_best(best.copy_ms, [&] { copy.run(); });
    keep_best(best.ours_ms, c.ours);
    keep_best(best.copy_ms, [&] { copy.run(); });
    keep_best(best.peer_ms, c.peer);
  }
  return best;
}

void compare(const Kernel& kernel, const Setting& setting, Copy& copy) {
  const Case c = kernel.make(setting);
  const Best best = measure(c, setting.device, copy);
  const double moved = c.bytes / best.ours_ms / 1e6, copied = kCopiedBytes / best.copy_ms / 1e6;
  std::printf(
      "%s %-14s %-16s: weft %7.3f ms, %6.1f GB/s, %3.0f %% of copy (%.1f); %s %7.3f ms, ratio "
      "%.2f\n",
      name_of(setting.type), kernel.name, c.size.c_str(), best.ours_ms, moved, 100 * moved / copied,
      copied, kernel.peer_name, best.peer_ms, best.peer_ms / best.ours_ms);
  std::fflush(stdout);
}

void compare_all(const std::vector<Kernel>& kernels, at::Device device) {
  Copy copy(device);
  if (device.is_cpu()) std::printf("threads %d\n", at::get_num_threads());
  for (const Kernel& kernel : kernels) {
    for (const at::ScalarType type : kernel.types) compare(kernel, {device, type}, copy);
  }
}

void register_all(const std::vector<Kernel>& kernels, at::Device device) {
  for (const Kernel& kernel : kernels) {
    for (const at::ScalarType type : kernel.types) {
      const std::string name = std::string(kernel.name) + "/" + name_of(type);
      benchmark::RegisterBenchmark(
          name.c_str(),
          [=](benchmark::State& state) {
            const Case c = kernel.make({device, type});
            for (auto _ : state) {
              const DeviceTimer timer(device);
              c.ours();
              state.SetIterationTime(timer.ms() / 1e3);
            }
            state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(c.bytes));
          })
          ->Unit(benchmark::kMillisecond)
          ->UseManualTime();
    }
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  const bool named = argc >= 3 && std::string(argv[1]) == "--device";
  const std::string device_name = named ? argv[2] : "cpu";
  if (device_name != "cpu" && (device_name != "cuda" || !at::hasCUDA())) {
    std::fprintf(stderr, "pointwise_bench: --device is cpu, or cuda where there is a GPU, not %s\n",
                 device_name.c_str());
    return 2;
  }
  const auto device = device_name == "cuda" ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (named) {
    argv[2] = argv[0];
    argv += 2;
    argc -= 2;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  weft::keep_freed_pages();
  const std::vector<weft::Kernel> kernels = weft::all_kernels();
  weft::compare_all(kernels, device);
  weft::register_all(kernels, device);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
