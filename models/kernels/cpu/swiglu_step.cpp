#include "models/kernels/cpu/swiglu_step.h"

#include <algorithm>
#include <memory>

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/row_linear_span.h"
#include "models/kernels/cpu/silu_mul.h"

namespace weft::cpu {
namespace {

// The kernels of the parts for an instruction set.
template <class S>
struct Parts {
  RowLinearPart<S> linear;
  RowLinearPart<Compute<S>> route;
  decltype(&baseline::silu_mul_range<S>) silu_mul;

  explicit Parts(Isa isa)
      : linear(row_linear_kernel<S>(isa)),
        route(row_linear_kernel<Compute<S>>(isa)),
        silu_mul(WEFT_KERNEL_FOR(isa, silu_mul_range<S>)) {}
};

// Rows begin .. end - 1 of matrices with `rows` rows each, one matrix after the other: f(matrix,
// first, last).
template <class F>
void for_each_matrix(int64_t rows, int64_t begin, int64_t end, const F& f) {
  for (int64_t i = begin / rows; i * rows < end; ++i) {
    f(i, std::max<int64_t>(begin - i * rows, 0), std::min(end - i * rows, rows));
  }
}

template <class S>
class SwigluWork final : public StagedWork {
  using C = Compute<S>;

 public:
  SwigluWork(const SwigluStep<S>& step, Scratch& scratch, Isa isa)
      : step_(step),
        parts_(isa),
        tokens_(step.residual.rows),
        width_(step.residual.width),
        hidden_size_(step.hidden),
        normed_(step.residual, Stages::max_threads(), scratch) {
    const bool dense = step.router == nullptr;
    const int64_t k = dense ? 1 : step.choice.top_k;
    hidden_ = scratch.take<S>(2 * tokens_ * k * hidden_size_);
    outputs_ = scratch.take<S>((dense ? 1 : k + 1) * tokens_ * width_);
    if (dense) return;
    wide_ = scratch.take<C>(Stages::max_threads() * thread_numbers());
    logits_ = scratch.take<C>(tokens_ * step.choice.experts);
    chosen_ = scratch.take<int64_t>(tokens_ * k);
    weights_ = scratch.take<C>(tokens_ * k);
  }

  void add_to(Stages& stages) override {
    normed_.reset();
    if (step_.router == nullptr) {
      add_dense(stages);
    } else {
      add_experts(stages);
    }
  }

 private:
  static constexpr int64_t kBytes = sizeof(S);

  void add_dense(Stages& stages) {
    stages.add(hidden_size_, 2 * width_ * kBytes,
               [this](int64_t thread, int64_t begin, int64_t end) {
                 make_hidden(normed_.on(thread), /*expert=*/0, hidden_, begin, end);
               });
    stages.add(width_, hidden_size_ * kBytes, [this](int64_t, int64_t begin, int64_t end) {
      const LinearInput<S> input = {hidden_, tokens_, hidden_size_, hidden_size_};
      parts_.linear(input, {width_, step_.down, hidden_size_, step_.down_bias, outputs_}, begin,
                    end);
      add_to_residual(step_.residual, outputs_, 0, tokens_, begin, end);
    });
  }

  void add_experts(Stages& stages) {
    const int64_t k = step_.choice.top_k, experts = step_.choice.experts;
    stages.add(experts, width_ * static_cast<int64_t>(sizeof(C)),
               [this](int64_t thread, int64_t begin, int64_t end) { route(thread, begin, end); });
    stages.add(1, experts * static_cast<int64_t>(sizeof(C)),
               [this](int64_t, int64_t, int64_t) { choose(); });
    stages.add(tokens_ * k * hidden_size_, 2 * width_ * kBytes,
               [this](int64_t thread, int64_t begin, int64_t end) {
                 hidden_of_experts(normed_.on(thread), begin, end);
               });
    stages.add(tokens_ * width_, k * hidden_size_ * kBytes,
               [this](int64_t thread, int64_t begin, int64_t end) {
                 outputs_of_experts(wide_ + thread * thread_numbers(), begin, end);
               });
  }

  // Whole lines of the caches.
  int64_t thread_numbers() const {
    constexpr int64_t kBytesOf = sizeof(C);
    return to_lines(tokens_ * width_ * kBytesOf) / kBytesOf;
  }

  // silu(gate x) * up x of the rows of x, columns first .. last - 1, into `to` [x.rows, f]; behind
  // it there is room for as much.
  void make_hidden(const LinearInput<S>& x, int64_t expert, S* to, int64_t first,
                   int64_t last) const {
    const int64_t matrix = expert * hidden_size_ * width_;
    S* const up = to + x.rows * hidden_size_;
    parts_.linear(x, {hidden_size_, step_.gate + matrix, width_, step_.gate_bias, to}, first, last);
    parts_.linear(x, {hidden_size_, step_.up + matrix, width_, step_.up_bias, up}, first, last);
    for (int64_t row = 0; row < x.rows; ++row) {
      const int64_t at = row * hidden_size_ + first;
      parts_.silu_mul(to + at, up + at, to + at, last - first);
    }
  }

  // The router's logits of experts begin .. end - 1, from x in the wide type.
  void route(int64_t thread, int64_t begin, int64_t end) {
    C* const wide = wide_ + thread * thread_numbers();
    const auto* narrow = reinterpret_cast<const LibTorchType<S>*>(normed_.on(thread).data);
    std::copy(narrow, narrow + tokens_ * width_, wide);
    const LinearRows<C> router = {step_.choice.experts, step_.router, width_, nullptr, logits_};
    parts_.route({wide, tokens_, width_, width_}, router, begin, end);
  }

  void choose() {
    const int64_t k = step_.choice.top_k, experts = step_.choice.experts;
    for (int64_t token = 0; token < tokens_; ++token) {
      choose_experts<C>(step_.choice, logits_ + token * experts, chosen_ + token * k,
                        weights_ + token * k);
    }
  }

  void hidden_of_experts(const LinearInput<S>& x, int64_t begin, int64_t end) {
    for_each_matrix(hidden_size_, begin, end, [&](int64_t i, int64_t first, int64_t last) {
      const S* token = x.data + i / step_.choice.top_k * width_;
      make_hidden({token, 1, width_, width_}, chosen_[i], hidden_ + 2 * i * hidden_size_, first,
                  last);
    });
  }

  // `sum` has room for a token.
  void outputs_of_experts(C* sum, int64_t begin, int64_t end) {
    const int64_t k = step_.choice.top_k, size = tokens_ * width_;
    for_each_matrix(width_, begin, end, [&](int64_t token, int64_t first, int64_t last) {
      std::fill(sum, sum + (last - first), C{0});
      for (int64_t slot = 0; slot < k; ++slot) {
        const int64_t i = token * k + slot;
        S* const y = outputs_ + (1 + slot) * size + token * width_;
        parts_.linear(
            {hidden_ + 2 * i * hidden_size_, 1, hidden_size_, hidden_size_},
            {width_, step_.down + chosen_[i] * width_ * hidden_size_, hidden_size_, nullptr, y},
            first, last);
        const auto* values = reinterpret_cast<const LibTorchType<S>*>(y);
        for (int64_t j = first; j < last; ++j) {
          sum[j - first] += weights_[i] * static_cast<C>(values[j]);
        }
      }
      S* const total = outputs_ + token * width_;
      std::copy(sum, sum + (last - first), reinterpret_cast<LibTorchType<S>*>(total) + first);
      add_to_residual(step_.residual, total, token, 1, first, last);
    });
  }

  const SwigluStep<S> step_;
  const Parts<S> parts_;
  const int64_t tokens_, width_, hidden_size_;
  NormedResidual<S> normed_;
  C* wide_ = nullptr;                         // a token or all of them, for each thread
  C *logits_ = nullptr, *weights_ = nullptr;  // [n, E], [n, k]
  int64_t* chosen_ = nullptr;                 // [n, k]
  S* hidden_;                                 // [2, n, f]; of experts [n k, 2, f]
  S* outputs_;                                // [n, d]; of experts [1 + k, n, d], the sum first
};

}  // namespace

template <class S>
StagedWorkPtr swiglu_work(const SwigluStep<S>& step, Scratch& scratch, Isa isa) {
  return std::make_unique<SwigluWork<S>>(step, scratch, isa);
}

template StagedWorkPtr swiglu_work<float>(const SwigluStep<float>&, Scratch&, Isa);
template StagedWorkPtr swiglu_work<double>(const SwigluStep<double>&, Scratch&, Isa);
template StagedWorkPtr swiglu_work<Bf16>(const SwigluStep<Bf16>&, Scratch&, Isa);

}  // namespace weft::cpu
