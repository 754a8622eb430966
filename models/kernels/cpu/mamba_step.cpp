#include "models/kernels/cpu/mamba_step.h"

#include <algorithm>
#include <type_traits>

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <omp.h>

#include "models/kernels/cpu/rms_norm.h"
#include "models/kernels/cpu/row_linear_span.h"
#include "models/kernels/cpu/tasks.h"

namespace weft::cpu {
namespace {

// As rms_norm's kernels know the storage type.
template <class S>
using NormStorage = std::conditional_t<std::is_same_v<S, Bf16>, c10::BFloat16, S>;

template <class S>
struct Parts {
  decltype(&baseline::conv_step_task<S>) conv;
  decltype(&baseline::row_linear_part<S>) linear;
  decltype(&baseline::scan_step_task<S>) scan;
};

template <class S>
Parts<S> parts_for(Isa isa) {
  if (isa == Isa::kAvx512) {
    return {avx512::conv_step_task<S>, avx512::row_linear_part<S>, avx512::scan_step_task<S>};
  }
  if (isa == Isa::kAvx2) {
    return {avx2::conv_step_task<S>, avx2::row_linear_part<S>, avx2::scan_step_task<S>};
  }
  return {baseline::conv_step_task<S>, baseline::row_linear_part<S>, baseline::scan_step_task<S>};
}

int64_t to_lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// A thread's memory: the parts' workspace, and behind it what the norms give.
template <class S>
struct Scratch {
  int64_t workspace, normed[3], size;

  explicit Scratch(const MambaStep<S>& step) {
    const ScanShape& shape = step.scan.in.shape;
    workspace = to_lines(std::max(conv_workspace_bytes(step.conv.in.shape.taps, sizeof(Compute<S>)),
                                  scan_step_workspace_bytes(shape.states, sizeof(Compute<S>))));
    size = workspace;
    for (int i = 0; i < 3; ++i) {
      normed[i] = size;
      size += to_lines(shape.batch * step.projections[i].out * static_cast<int64_t>(sizeof(S)));
    }
  }
};

// One of several threads, between the places where all of them meet.
template <class S>
class MambaStepThread {
 public:
  MambaStepThread(const MambaStep<S>& step, const Parts<S>& parts, const Scratch<S>& scratch,
                  std::byte* memory, int64_t index, int64_t count)
      : step_(step),
        parts_(parts),
        scratch_(scratch),
        memory_(memory),
        index_(index),
        count_(count) {}

  void convolve() const {
    const int64_t channels = step_.conv.in.shape.channels;
    for_own((channels + kConvGroup - 1) / kConvGroup,
            [&](int64_t group) { parts_.conv(step_.conv, group, memory_); });
  }

  void project() const {
    const ScanShape& shape = step_.scan.in.shape;
    const LinearInput<S> x = {step_.conv.y.data, shape.batch, shape.channels, shape.channels};
    const LinearLayers<S> layers = {step_.projections, 3};
    const int64_t out = outputs_of(layers);
    row_linear_span(x, layers, index_ * out / count_, (index_ + 1) * out / count_, parts_.linear);
  }

  // dt and the scan of the thread's own channels. Every thread makes the norms for itself.
  void scan() const {
    ScanForward<S> scan = step_.scan;
    const ScanShape& shape = scan.in.shape;
    LinearInput<S> low = {normed(0), shape.batch, step_.projections[0].out,
                          step_.projections[0].out};
    scan.in.b.data = normed(1);
    scan.in.c.data = normed(2);
    for_own(scan_groups(shape.channels), [&](int64_t group) {
      const int64_t first = group * kScanGroup;
      parts_.linear(low, step_.dt, first, std::min(first + kScanGroup, shape.channels));
      parts_.scan(scan, group, memory_);
    });
  }

 private:
  template <class F>
  void for_own(int64_t tasks, const F& f) const {
    for (int64_t i = index_ * tasks / count_; i < (index_ + 1) * tasks / count_; ++i) f(i);
  }

  const S* normed(int i) const {
    const LinearRows<S>& from = step_.projections[i];
    if (step_.norms[i] == nullptr) return from.y;
    auto* to = reinterpret_cast<S*>(memory_ + scratch_.normed[i]);
    using N = NormStorage<S>;
    rms_norm_forward<N, Compute<S>>({step_.scan.in.shape.batch, from.out, step_.norm_eps},
                                    reinterpret_cast<const N*>(from.y), step_.norms[i],
                                    reinterpret_cast<N*>(to), nullptr);
    return to;
  }

  const MambaStep<S>& step_;
  const Parts<S>& parts_;
  const Scratch<S>& scratch_;
  std::byte* memory_;
  int64_t index_, count_;
};

// Weights that are worth a thread.
constexpr int64_t kWeightBytesOfAThread = 24 << 10;

template <class S>
int64_t thread_count(const MambaStep<S>& step) {
  if (at::in_parallel_region()) return 1;
  int64_t rows = step.projections[0].out;  // dt's columns
  for (const LinearRows<S>& layer : step.projections) rows += layer.out;
  const int64_t bytes = rows * step.scan.in.shape.channels * static_cast<int64_t>(sizeof(S));
  return std::clamp<int64_t>(bytes / kWeightBytesOfAThread, 1, at::get_num_threads());
}

}  // namespace

template <class S>
void mamba_step(const MambaStep<S>& step, Isa isa) {
  const Parts<S> parts = parts_for<S>(isa);
  const Scratch<S> scratch(step);
  const int64_t threads = thread_count(step);
  const AlignedBytes memory = aligned_bytes(threads * scratch.size);
  // Never a team of another size than LibTorch's: libgomp would end threads and start them again.
#pragma omp parallel if (threads > 1)
  {
    const int64_t index = omp_get_thread_num();
    const int64_t count = std::min<int64_t>(threads, omp_get_num_threads());
    const bool works = index < count;
    const MambaStepThread<S> thread(
        step, parts, scratch, memory.get() + (works ? index : 0) * scratch.size, index, count);
    if (works) thread.convolve();
#pragma omp barrier
    if (works) thread.project();
#pragma omp barrier
    if (works) thread.scan();
  }
}

template void mamba_step<float>(const MambaStep<float>&, Isa);
template void mamba_step<double>(const MambaStep<double>&, Isa);
template void mamba_step<Bf16>(const MambaStep<Bf16>&, Isa);

}  // namespace weft::cpu
