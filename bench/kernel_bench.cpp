// Kernels on the CPU or a GPU, forward and backward, for `scripts/bench kernels`: `kernel_bench
// cpu|cuda THREADS` obeys the lines that it reads, each with a JSON line of milliseconds:
//   attention fp32|bf16 ROWS LENGTH HEADS WIDTH     causal, one document a row
//   scan fp32|bf16 ROWS LENGTH CHANNELS STATES      selective scan with D, z, softplus and bias
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "bench/device_timer.h"
#include "bench/versus.h"
#include "cli/allocator.h"
#include "cli/openmp.h"
#include "models/attention.h"
#include "models/documents.h"
#include "models/kernels/selective_scan.h"

namespace weft {
namespace {

struct Case {
  std::string kernel, precision;
  int64_t rows = 0, length = 0, third = 0, fourth = 0;

  at::ScalarType type() const { return precision == "bf16" ? at::kBFloat16 : at::kFloat; }
};

// A line of that form; false if it is another.
bool parse(const std::string& line, Case& c) {
  std::istringstream words(line);
  words >> c.kernel >> c.precision >> c.rows >> c.length >> c.third >> c.fourth;
  const bool known = c.kernel == "attention" || c.kernel == "scan";
  return words && known && (c.precision == "fp32" || c.precision == "bf16");
}

Tensor leaf(at::IntArrayRef shape, at::ScalarType type, at::Device device) {
  return at::randn(shape, at::TensorOptions(device)).to(type).set_requires_grad(true);
}

// Forward and backward once, without what that leaves in the leaves.
using Turn = std::function<void()>;

Turn attention(const Case& c, at::Device device) {
  const Tensor q = leaf({c.rows, c.length, c.third, c.fourth}, c.type(), device);
  const Tensor k = leaf(q.sizes(), c.type(), device), v = leaf(q.sizes(), c.type(), device);
  const Tensor dy = at::randn(q.sizes(), at::TensorOptions(device)).to(c.type());
  const Documents documents = Documents::whole_rows(c.rows, c.length, device);
  return [=] {
    causal_attention(q, k, v, documents, /*window=*/0).backward(dy);
    for (const Tensor& t : {q, k, v}) t.mutable_grad() = Tensor{};
  };
}

Turn scan(const Case& c, at::Device device) {
  const std::vector<int64_t> by_channel = {c.rows, c.length, c.third},
                             by_state = {c.rows, c.length, c.fourth};
  const auto options = at::TensorOptions(device);
  const SelectiveScanInputs in{
      .x = leaf(by_channel, c.type(), device),
      .dt = leaf(by_channel, c.type(), device),
      .b = leaf(by_state, c.type(), device),
      .c = leaf(by_state, c.type(), device),
      .z = leaf(by_channel, c.type(), device),
      .a_log = at::rand({c.third, c.fourth}, options).set_requires_grad(true),
      .d = leaf({c.third}, at::kFloat, device),
      .dt_bias = (at::randn({c.third}, options) - 4).set_requires_grad(true),
      .starts = at::zeros({c.rows, c.length}, options.dtype(at::kBool))};
  const Tensor dy = at::randn(by_channel, options).to(c.type());
  return [=] {
    selective_scan(in).backward(dy);
    for (const Tensor& t : {in.x, in.dt, in.b, in.c, in.z, in.a_log, in.d, in.dt_bias}) {
      t.mutable_grad() = Tensor{};
    }
  };
}

// Milliseconds of a turn: of as many as take some 50 ms, the median of three such times.
double measure(const Turn& turn, at::Device device) {
  turn();
  const auto time = [&](int count) {
    const DeviceTimer timer(device);
    for (int i = 0; i < count; ++i) turn();
    return timer.ms() / count;
  };
  const int count = std::clamp(static_cast<int>(50 / time(1)), 1, 1000);
  return median({time(count), time(count), time(count)});
}

int run(at::Device device) {
  for (std::string line; std::getline(std::cin, line);) {
    Case c;
    if (!parse(line, c)) {
      std::fprintf(stderr, "kernel_bench: unknown command '%s'\n", line.c_str());
      return 2;
    }
    const Turn turn = c.kernel == "scan" ? scan(c, device) : attention(c, device);
    std::printf("{\"ms\": %.4f}\n", measure(turn, device));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  const std::string device = argc == 3 ? argv[1] : "";
  const int threads = argc == 3 ? std::atoi(argv[2]) : 0;
  if ((device != "cpu" && device != "cuda") || threads < 1) {
    std::fprintf(stderr, "usage: kernel_bench cpu|cuda THREADS\n");
    return 2;
  }
  if (device == "cuda" && !at::hasCUDA()) {
    std::fprintf(stderr, "kernel_bench: no GPU, or a program without CUDA\n");
    return 2;
  }
  weft::limit_openmp_spinning(argv);
  weft::give_back_kept_memory_when_short();
  at::set_num_threads(threads);
  return weft::run(device == "cuda" ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU));
}
