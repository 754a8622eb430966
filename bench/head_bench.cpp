// The head and its loss, forward and backward, by slices (memory.mini_sequences: auto) against
// plain LibTorch operators: peak of memory, each in a process of its own, and time, side by side.
// Sizes are tokens x vocabulary at a hidden size of 512.
#include <cstdio>
#include <string>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "bench/versus.h"
#include "models/head.h"
#include "models/mini_sequences.h"

namespace weft {
namespace {

struct Size {
  const char* name;
  at::ScalarType type;
  int64_t tokens, vocabulary;
};
constexpr int64_t kWidth = 512;

// Made in place and in their own type: making them takes no more memory than they do.
struct Inputs {
  Tensor hidden, weight, targets;

  explicit Inputs(const Size& size)
      : hidden(at::randn({size.tokens, kWidth}, size.type).set_requires_grad(true)),
        weight(at::randn({size.vocabulary, kWidth}, size.type).mul_(0.02).set_requires_grad(true)),
        targets(at::randint(size.vocabulary, {size.tokens}, at::kLong)) {}

  void clear() const {
    hidden.mutable_grad() = Tensor();
    weight.mutable_grad() = Tensor();
  }
};

void by_slices(const Inputs& in, int64_t rows) {
  in.clear();
  const double per_target = 1.0 / static_cast<double>(in.targets.numel());
  head_loss(in.hidden, in.weight, in.targets, {per_target}, rows).loss.backward();
}

void plain(const Inputs& in) {
  in.clear();
  const Tensor logits = at::linear(in.hidden, in.weight);
  at::cross_entropy_loss(logits.to(at::kFloat), in.targets).backward();
}

int64_t rows_of(const Size& size) {
  return head_rows({}, size.tokens, kWidth, size.vocabulary, c10::elementSize(size.type));
}

// Peak of memory, in MiB, of a process that does this. REQUIRES: no threads yet.
template <class F>
double peak_of(const F& f) {
  const pid_t child = fork();
  WEFT_CHECK(child >= 0, "fork failed");
  if (child == 0) {
    f();
    _exit(0);
  }
  int status = 0;
  rusage usage{};
  WEFT_CHECK(wait4(child, &status, 0, &usage) == child && status == 0, "a child failed");
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

struct Peaks {
  double ours, plain;
};

// Beyond what the inputs take.
Peaks peaks_of(const Size& size) {
  const double before = peak_of([&] { const Inputs in(size); });
  const double ours = peak_of([&] { by_slices(Inputs(size), rows_of(size)); });
  const double others = peak_of([&] { plain(Inputs(size)); });
  return {ours - before, others - before};
}

constexpr Size kSizes[] = {{"fp32 2048x8192", at::kFloat, 2048, 8192},
                           {"bf16 2048x8192", at::kBFloat16, 2048, 8192},
                           {"bf16 8192x128256", at::kBFloat16, 8192, 128256}};

void run() {
  for (const Size& size : kSizes) {
    const Peaks peaks = peaks_of(size);
    std::printf("%s: peak beyond the inputs: weft %.0f MiB, plain operators %.0f MiB, 1/%.1f\n",
                size.name, peaks.ours, peaks.plain, peaks.plain / peaks.ours);
  }
  std::printf("threads %d\n", at::get_num_threads());
  for (const Size& size : kSizes) {
    const Inputs in(size);
    const int runs = size.tokens * size.vocabulary < 1e8 ? 15 : 3;
    const double ours = median_ms(runs, [&] { by_slices(in, rows_of(size)); });
    const double others = median_ms(runs, [&] { plain(in); });
    std::printf("%s: weft %.1f ms, plain operators %.1f ms, ratio %.2f\n", size.name, ours, others,
                others / ours);
  }
}

}  // namespace
}  // namespace weft

int main() {
  weft::run();
  return 0;
}
