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

// The kernels of the parts for an instruction set.
template <class S>
struct Parts {
  decltype(&baseline::attention_step_part<S>) part;
  decltype(&baseline::attention_step_join<S>) join;
  decltype(&baseline::row_linear_part<S>) linear;

  explicit Parts(Isa isa)
      : part(WEFT_KERNEL_FOR(isa, attention_step_part<S>)),
        join(WEFT_KERNEL_FOR(isa, attention_step_join<S>)),
        linear(WEFT_KERNEL_FOR(isa, row_linear_part<S>)) {}
};

// The stages of a step, and the memory that they use.
template <class S>
class AttentionStages {
  using C = Compute<S>;

 public:
  AttentionStages(const AttentionStepRaw<S>& step, const Parts<S>& functions)
      : step_(step),
        functions_(functions),
        most_(slots_in_use(step)),
        count_((most_ + kSlotsPerPart - 1) / kSlotsPerPart),
        workspace_bytes_(to_lines((2 * step.width + kSlotsPerPart) * sizeof(C) + 3 * 64)),
        workspaces_(aligned_bytes(Stages::max_threads() * workspace_bytes_)) {
    const int64_t softmaxes = step.rows * count_ * step.heads;
    numbers_ = std::make_unique_for_overwrite<C[]>(softmaxes * (2 + step.width));
    parts_ = {.largest = numbers_.get(),
              .sum = numbers_.get() + softmaxes,
              .y = numbers_.get() + 2 * softmaxes,
              .parts = count_};
  }

  void add_to(Stages& stages) const {
    constexpr int64_t kBytes = sizeof(S);
    stages.add(step_.rows * step_.kv_heads * count_,
               2 * std::min(most_, kSlotsPerPart) * step_.width * kBytes,
               [this](int64_t thread, int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   functions_.part(step_, parts_, i / count_ / step_.kv_heads,
                                   i / count_ % step_.kv_heads, i % count_,
                                   workspaces_.get() + thread * workspace_bytes_);
                 }
               });
    stages.add(step_.rows, count_ * step_.heads * step_.width * static_cast<int64_t>(sizeof(C)),
               [this](int64_t, int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row) functions_.join(step_, parts_, row);
               });
  }

 private:
  static int64_t slots_in_use(const AttentionStepRaw<S>& step) {
    int64_t most = 0;
    for (int64_t row = 0; row < step.rows; ++row) {
      most = std::max(most, std::min(step.lengths[row] + 1, step.slots));
    }
    return most;
  }

  const AttentionStepRaw<S>& step_;
  const Parts<S>& functions_;
  const int64_t most_, count_;  // slots in use, and parts of them
  const int64_t workspace_bytes_;
  const AlignedBytes workspaces_;
  std::unique_ptr<C[]> numbers_;
  AttentionParts<C> parts_;
};

// Each head's q and k, in place.
template <class S>
void add_norms(const AttentionLayer<S>& layer, Stages& stages) {
  const AttentionStepRaw<S>& step = layer.step;
  const auto norm = WEFT_KERNEL_FOR(best_isa(), rms_norm_rows<S, S>);
  const auto add = [&](const Compute<S>* weight, S* heads, int64_t count) {
    stages.add(count, step.width * static_cast<int64_t>(sizeof(S)),
               [&step, &layer, norm, weight, heads](int64_t, int64_t begin, int64_t end) {
                 S* const x = heads + begin * step.width;
                 norm({.rows = end - begin,
                       .width = step.width,
                       .eps = layer.norm_eps,
                       .x = x,
                       .x_stride = step.width,
                       .added = nullptr,
                       .sum = nullptr,
                       .weight = weight,
                       .y = x,
                       .scale = nullptr});
               });
  };
  add(layer.norms[0], layer.into[0].y, step.rows * step.heads);
  add(layer.norms[1], layer.into[1].y, step.rows * step.kv_heads);
}

}  // namespace

template <class S>
void attention_step(const AttentionStepRaw<S>& step, Isa isa) {
  const Parts<S> functions(isa);
  const AttentionStages<S> attention(step, functions);
  Stages stages;
  attention.add_to(stages);
  stages.run();
}

template <class S>
void attention_layer_step(const AttentionLayer<S>& layer, Isa isa) {
  constexpr int64_t kBytes = sizeof(S);
  const Parts<S> functions(isa);
  const AttentionStages<S> attention(layer.step, functions);
  const NormedResidual<S> normed(layer.residual, Stages::max_threads());
  const LinearLayers<S> into = {layer.into, 3};
  const int64_t width = layer.step.heads * layer.step.width;
  Stages stages;
  stages.add(outputs_of(into), layer.residual.width * kBytes,
             [&](int64_t thread, int64_t begin, int64_t end) {
               row_linear_span(normed.on(thread), into, begin, end, functions.linear);
             });
  if (layer.norms[0] != nullptr) add_norms(layer, stages);
  attention.add_to(stages);
  stages.add(layer.out.out, width * kBytes, [&](int64_t, int64_t begin, int64_t end) {
    functions.linear({layer.step.y, layer.step.rows, width, width}, layer.out, begin, end);
    add_to_residual(layer.residual, layer.out.y, 0, layer.residual.rows, begin, end);
  });
  stages.run();
}

#define WEFT_INSTANTIATE(S)                                         \
  template void attention_step<S>(const AttentionStepRaw<S>&, Isa); \
  template void attention_layer_step<S>(const AttentionLayer<S>&, Isa);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)

}  // namespace weft::cpu
