#include "models/kernels/cpu/head_step.h"

#include <algorithm>
#include <type_traits>

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/row_linear_span.h"

namespace weft::cpu {

namespace {

template <class S>
class HeadWork final : public StagedWork {
  using C = Compute<S>;
  static constexpr bool kWidened = !std::is_same_v<S, C>;

 public:
  HeadWork(const HeadStep<S>& step, Scratch& scratch, Isa isa)
      : step_(step),
        linear_(WEFT_KERNEL_FOR(isa, row_linear_part<S>)),
        normed_(step.residual, Stages::max_threads(), scratch),
        rounded_(kWidened ? scratch.take<S>(step.residual.rows * step.vocab) : nullptr) {}

  void add_to(Stages& stages) override {
    normed_.reset();
    auto* const logits = static_cast<C*>(*step_.logits);
    stages.add(step_.vocab, step_.residual.width * static_cast<int64_t>(sizeof(S)),
               [this, logits](int64_t thread, int64_t begin, int64_t end) {
                 write_logits(thread, begin, end, logits);
               });
  }

 private:
  void write_logits(int64_t thread, int64_t begin, int64_t end, C* logits) const {
    LinearRows<S> head = {step_.vocab, step_.head, step_.residual.width, nullptr, rounded_};
    if constexpr (!kWidened) head.y = logits;
    linear_(normed_.on(thread), head, begin, end);
    if constexpr (kWidened) {
      const auto* rounded = reinterpret_cast<const LibTorchType<S>*>(rounded_);
      for (int64_t row = 0; row < step_.residual.rows; ++row) {
        const int64_t at = row * step_.vocab;
        std::copy(rounded + at + begin, rounded + at + end, logits + at + begin);
      }
    }
  }

  const HeadStep<S> step_;
  RowLinearPart<S> linear_;
  NormedResidual<S> normed_;
  S* const rounded_;  // logits in the head's type, where the wide one is another
};

}  // namespace

template <class S>
StagedWorkPtr head_work(const HeadStep<S>& step, Scratch& scratch, Isa isa) {
  return std::make_unique<HeadWork<S>>(step, scratch, isa);
}

template StagedWorkPtr head_work<float>(const HeadStep<float>&, Scratch&, Isa);
template StagedWorkPtr head_work<double>(const HeadStep<double>&, Scratch&, Isa);
template StagedWorkPtr head_work<Bf16>(const HeadStep<Bf16>&, Scratch&, Isa);

}  // namespace weft::cpu
