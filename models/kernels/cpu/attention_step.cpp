#include "models/kernels/cpu/attention_step.h"

#include <algorithm>
#include <memory>

#include "models/kernels/cpu/attention_layer.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/rms_norm.h"
#include "models/kernels/cpu/row_linear_span.h"
#include "models/kernels/cpu/stages.h"

namespace weft::cpu {
namespace {

// The kernels for an instruction set.
template <class S>
struct Parts {
  decltype(&baseline::attention_step_part<S>) part;
  decltype(&baseline::attention_step_join<S>) join;

  explicit Parts(Isa isa)
      : part(WEFT_KERNEL_FOR(isa, attention_step_part<S>)),
        join(WEFT_KERNEL_FOR(isa, attention_step_join<S>)) {}
};

// Attention of a step in stages.
template <class S>
class AttentionWork final : public StagedWork {
  using C = Compute<S>;

 public:
  AttentionWork(const AttentionStepRaw<S>& step, Scratch& scratch, Isa isa)
      : step_(step),
        functions_(isa),
        workspace_bytes_(to_lines((2 * step.width + kSlotsPerPart) * sizeof(C) + 3 * 64)),
        workspaces_(scratch.take<std::byte>(Stages::max_threads() * workspace_bytes_)),
        numbers_(scratch.take<C>(softmaxes(parts_of(step.slots)) * (2 + step.width))) {}

  void add_to(Stages& stages) override {
    const int64_t most = slots_in_use(), count = parts_of(most);
    parts_ = {.largest = numbers_,
              .sum = numbers_ + softmaxes(count),
              .y = numbers_ + 2 * softmaxes(count),
              .parts = count};
    stages.add(step_.rows * step_.kv_heads * count,
               2 * std::min(most, kSlotsPerPart) * step_.width * static_cast<int64_t>(sizeof(S)),
               [this, count](int64_t thread, int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   functions_.part(step_, parts_, i / count / step_.kv_heads,
                                   i / count % step_.kv_heads, i % count,
                                   workspaces_ + thread * workspace_bytes_);
                 }
               });
    stages.add(step_.rows, count * step_.heads * step_.width * static_cast<int64_t>(sizeof(C)),
               [this](int64_t, int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row) functions_.join(step_, parts_, row);
               });
  }

 private:
  int64_t slots_in_use() const {
    int64_t most = 0;
    for (int64_t row = 0; row < step_.rows; ++row) {
      most = std::max(most, std::min(step_.lengths[row] + 1, step_.slots));
    }
    return most;
  }

  static int64_t parts_of(int64_t slots) { return (slots + kSlotsPerPart - 1) / kSlotsPerPart; }
  int64_t softmaxes(int64_t parts) const { return step_.rows * parts * step_.heads; }

  const AttentionStepRaw<S> step_;
  const Parts<S> functions_;
  const int64_t workspace_bytes_;
  std::byte* const workspaces_;
  C* const numbers_;
  AttentionParts<C> parts_ = {};
};

template <class S>
class AttentionLayerWork final : public StagedWork {
 public:
  AttentionLayerWork(const AttentionLayer<S>& layer, Scratch& scratch, Isa isa)
      : layer_(layer),
        linear_(WEFT_KERNEL_FOR(isa, row_linear_part<S>)),
        norm_(WEFT_KERNEL_FOR(best_isa(), rms_norm_rows<S, S>)),
        normed_(layer.residual, Stages::max_threads(), scratch),
        attention_(layer.step, scratch, isa) {}

  void add_to(Stages& stages) override {
    constexpr int64_t kBytes = sizeof(S);
    normed_.reset();
    stages.add(outputs_of(into()), layer_.residual.width * kBytes,
               [this](int64_t thread, int64_t begin, int64_t end) {
                 row_linear_span(normed_.on(thread), into(), begin, end, linear_);
               });
    if (layer_.norms[0] != nullptr) {
      const AttentionStepRaw<S>& step = layer_.step;
      add_norm(layer_.norms[0], layer_.into[0].y, step.rows * step.heads, stages);
      add_norm(layer_.norms[1], layer_.into[1].y, step.rows * step.kv_heads, stages);
    }
    attention_.add_to(stages);
    const int64_t width = layer_.step.heads * layer_.step.width;
    stages.add(layer_.out.out, width * kBytes, [this, width](int64_t, int64_t begin, int64_t end) {
      linear_({layer_.step.y, layer_.step.rows, width, width}, layer_.out, begin, end);
      add_to_residual(layer_.residual, layer_.out.y, 0, layer_.residual.rows, begin, end);
    });
  }

 private:
  LinearLayers<S> into() const { return {layer_.into, 3}; }

  // Over each of `count` heads, in place.
  void add_norm(const Compute<S>* weight, S* heads, int64_t count, Stages& stages) const {
    stages.add(count, layer_.step.width * static_cast<int64_t>(sizeof(S)),
               [this, weight, heads](int64_t, int64_t begin, int64_t end) {
                 S* const x = heads + begin * layer_.step.width;
                 norm_({.rows = end - begin,
                        .width = layer_.step.width,
                        .eps = layer_.norm_eps,
                        .x = x,
                        .x_stride = layer_.step.width,
                        .added = nullptr,
                        .sum = nullptr,
                        .weight = weight,
                        .y = x,
                        .scale = nullptr});
               });
  }

  const AttentionLayer<S> layer_;
  RowLinearPart<S> linear_;
  decltype(&baseline::rms_norm_rows<S, S>) norm_;
  NormedResidual<S> normed_;
  AttentionWork<S> attention_;
};

}  // namespace

template <class S>
void attention_step(const AttentionStepRaw<S>& step, Isa isa) {
  Scratch scratch;
  AttentionWork<S>(step, scratch, isa).run();
}

template <class S>
StagedWorkPtr attention_layer_work(const AttentionLayer<S>& layer, Scratch& scratch, Isa isa) {
  return std::make_unique<AttentionLayerWork<S>>(layer, scratch, isa);
}

#define WEFT_INSTANTIATE(S)                                         \
  template void attention_step<S>(const AttentionStepRaw<S>&, Isa); \
  template StagedWorkPtr attention_layer_work<S>(const AttentionLayer<S>&, Scratch&, Isa);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)

}  // namespace weft::cpu
