#include "models/kernels/cpu/mamba_step.h"

#include <algorithm>

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/rms_norm.h"
#include "models/kernels/cpu/row_linear_span.h"

namespace weft::cpu {
namespace {

// The kernels of the parts for an instruction set.
template <class S>
struct Parts {
  decltype(&baseline::conv_step_channels<S>) conv;
  RowLinearPart<S> linear;
  decltype(&baseline::scan_step_task<S>) scan;

  explicit Parts(Isa isa)
      : conv(WEFT_KERNEL_FOR(isa, conv_step_channels<S>)),
        linear(WEFT_KERNEL_FOR(isa, row_linear_part<S>)),
        scan(WEFT_KERNEL_FOR(isa, scan_step_task<S>)) {}
};

// A thread's memory: the parts' workspace, and behind it what the inner norms give.
template <class S>
struct ThreadMemory {
  int64_t workspace, normed[3], size;

  explicit ThreadMemory(const MambaStep<S>& step) {
    const ScanShape& shape = step.scan.in.shape;
    workspace = to_lines(std::max(conv_workspace_bytes(step.conv.in.shape.taps, sizeof(Compute<S>)),
                                  scan_step_workspace_bytes(shape.states, sizeof(Compute<S>))));
    size = workspace;
    for (int i = 0; i < 3; ++i) {
      normed[i] = size;
      size += to_lines(shape.batch * step.projections[i].out * sizeof(S));
    }
  }
};

template <class S>
class MambaWork final : public StagedWork {
 public:
  MambaWork(const MambaStep<S>& step, Scratch& scratch, Isa isa)
      : step_(step),
        parts_(isa),
        thread_(step),
        normed_(step.residual, Stages::max_threads(), scratch),
        memory_(scratch.take<std::byte>(Stages::max_threads() * thread_.size)) {}

  void add_to(Stages& stages) override {
    constexpr int64_t kBytes = sizeof(S), kWideBytes = sizeof(Compute<S>);
    const ScanShape& shape = step_.scan.in.shape;
    const int64_t inner = shape.channels;
    normed_.reset();
    stages.add(inner, 2 * step_.residual.width * kBytes,
               [this](int64_t thread, int64_t begin, int64_t end) {
                 const LinearInput<S> x = normed_.on(thread);
                 for (const LinearRows<S>& layer : step_.into) parts_.linear(x, layer, begin, end);
                 parts_.conv(step_.conv, begin, end, memory(thread));
               });
    const LinearLayers<S> projections = {step_.projections, 3};
    stages.add(outputs_of(projections), inner * kBytes,
               [this, projections](int64_t, int64_t begin, int64_t end) {
                 row_linear_span(rows(step_.conv.y.data), projections, begin, end, parts_.linear);
               });
    stages.add(scan_groups(inner), kScanGroup * shape.states * 3 * kWideBytes,
               [this](int64_t thread, int64_t begin, int64_t end) { scan(thread, begin, end); });
    stages.add(step_.out.out, inner * kBytes, [this](int64_t, int64_t begin, int64_t end) {
      parts_.linear(rows(step_.scan.y.data), step_.out, begin, end);
      add_to_residual(step_.residual, step_.out.y, 0, step_.residual.rows, begin, end);
    });
  }

 private:
  std::byte* memory(int64_t thread) const { return memory_ + thread * thread_.size; }

  LinearInput<S> rows(const S* data) const {
    const ScanShape& shape = step_.scan.in.shape;
    return {data, shape.batch, shape.channels, shape.channels};
  }

  // dt and the scan of groups of channels. Every call makes the norms for itself.
  void scan(int64_t thread, int64_t begin, int64_t end) const {
    ScanForward<S> scan = step_.scan;
    const ScanShape& shape = scan.in.shape;
    const int64_t rank = step_.projections[0].out;
    const LinearInput<S> low = {normed(thread, 0), shape.batch, rank, rank};
    scan.in.b.data = normed(thread, 1);
    scan.in.c.data = normed(thread, 2);
    // In one go: weights come from memory faster the longer a stream of them is.
    parts_.linear(low, step_.dt, begin * kScanGroup, std::min(end * kScanGroup, shape.channels));
    for (int64_t group = begin; group < end; ++group) parts_.scan(scan, group, memory(thread));
  }

  const S* normed(int64_t thread, int i) const {
    const LinearRows<S>& from = step_.projections[i];
    if (step_.norms[i] == nullptr) return from.y;
    auto* to = reinterpret_cast<S*>(memory(thread) + thread_.normed[i]);
    WEFT_KERNEL_FOR(best_isa(), rms_norm_rows<S, S>)
    ({.rows = step_.scan.in.shape.batch,
      .width = from.out,
      .eps = step_.norm_eps,
      .x = from.y,
      .x_stride = from.out,
      .added = nullptr,
      .sum = nullptr,
      .weight = step_.norms[i],
      .y = to,
      .scale = nullptr});
    return to;
  }

  const MambaStep<S> step_;
  const Parts<S> parts_;
  const ThreadMemory<S> thread_;
  NormedResidual<S> normed_;
  std::byte* const memory_;
};

}  // namespace

template <class S>
StagedWorkPtr mamba_work(const MambaStep<S>& step, Scratch& scratch, Isa isa) {
  return std::make_unique<MambaWork<S>>(step, scratch, isa);
}

template StagedWorkPtr mamba_work<float>(const MambaStep<float>&, Scratch&, Isa);
template StagedWorkPtr mamba_work<double>(const MambaStep<double>&, Scratch&, Isa);
template StagedWorkPtr mamba_work<Bf16>(const MambaStep<Bf16>&, Scratch&, Isa);

}  // namespace weft::cpu
