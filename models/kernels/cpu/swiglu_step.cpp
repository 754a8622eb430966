#include "models/kernels/cpu/swiglu_step.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/row_linear_span.h"
#include "models/kernels/cpu/silu_mul.h"

namespace weft::cpu {
namespace {

// The kernels of the parts for an instruction set.
template <class S>
struct Parts {
  RowLinearPart<S> linear;
  decltype(&baseline::silu_mul_range<S>) silu_mul;

  explicit Parts(Isa isa)
      : linear(WEFT_KERNEL_FOR(isa, row_linear_part<S>)),
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

// The experts of each token, n tokens in a row, as every thread finds them for itself: that takes
// less time than waiting for another one.
template <class S>
class Routes final {
  using C = Compute<S>;

 public:
  struct Chosen {
    const int64_t* experts;  // [n, k]
    const C* weights;        // [n, k]
  };

  Routes(const SwigluStep<S>& step, RowLinearPart<C> linear, Scratch& scratch)
      : choice_(step.choice),
        linear_(linear),
        router_(step.router),
        tokens_(step.residual.rows),
        width_(step.residual.width),
        shared_logits_(is_shared() ? scratch.take<C>(tokens_ * choice_.experts) : nullptr),
        threads_(static_cast<size_t>(Stages::max_threads())) {
    for (Thread& thread : threads_) {
      thread.wide = scratch.take<C>(tokens_ * width_);
      thread.logits = scratch.take<C>(tokens_ * choice_.experts);
      thread.experts = scratch.take<int64_t>(tokens_ * choice_.top_k);
      thread.weights = scratch.take<C>(tokens_ * choice_.top_k);
    }
  }

  // Stages before on(). x(thread) [n, width].
  template <class X>
  void add_to(Stages& stages, const X& x) {
    for (Thread& thread : threads_) thread.is_done = false;
    if (!is_shared()) return;
    stages.add(choice_.experts, width_ * static_cast<int64_t>(sizeof(C)),
               [this, x](int64_t thread, int64_t begin, int64_t end) {
                 make_logits(threads_[thread].wide, x(thread), begin, end, shared_logits_);
               });
  }

  Chosen on(int64_t thread, const LinearInput<S>& x) {
    Thread& own = threads_[thread];
    if (!own.is_done) {
      if (!is_shared()) make_logits(own.wide, x, 0, choice_.experts, own.logits);
      const C* const logits = is_shared() ? shared_logits_ : own.logits;
      for (int64_t token = 0; token < tokens_; ++token) {
        choose_experts<C>(choice_, logits + token * choice_.experts,
                          own.experts + token * choice_.top_k, own.weights + token * choice_.top_k);
      }
      own.is_done = true;
      last_ = thread;
    }
    return {own.experts, own.weights};
  }

  // What a thread found in a stage before.
  Chosen found() const { return {threads_[last_].experts, threads_[last_].weights}; }

  // A thread's memory for a token in the wide type, once its routes are found.
  C* wide(int64_t thread) const { return threads_[thread].wide; }

 private:
  struct alignas(64) Thread {
    C *wide, *logits, *weights;
    int64_t* experts;
    bool is_done = false;
  };

  // A large router is read by all threads together.
  bool is_shared() const {
    constexpr int64_t kMost = 32 << 10;
    return choice_.experts * width_ * static_cast<int64_t>(sizeof(C)) > kMost;
  }

  // Of experts begin .. end - 1, from x in the wide type.
  void make_logits(C* wide, const LinearInput<S>& x, int64_t begin, int64_t end, C* logits) const {
    const auto* narrow = reinterpret_cast<const LibTorchType<S>*>(x.data);
    std::copy(narrow, narrow + tokens_ * width_, wide);
    const LinearRows<C> router = {choice_.experts, router_, width_, nullptr, logits};
    linear_({wide, tokens_, width_, width_}, router, begin, end);
  }

  const ExpertChoice choice_;
  const RowLinearPart<C> linear_;
  const C* const router_;
  const int64_t tokens_, width_;
  C* const shared_logits_;  // [n, E]
  std::vector<Thread> threads_;
  std::atomic<int64_t> last_{0};
};

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
    routes_.emplace(step, WEFT_KERNEL_FOR(isa, row_linear_part<C>), scratch);
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
    const int64_t k = step_.choice.top_k;
    routes_->add_to(stages, [this](int64_t thread) { return normed_.on(thread); });
    stages.add(tokens_ * k * hidden_size_, 2 * width_ * kBytes,
               [this](int64_t thread, int64_t begin, int64_t end) {
                 hidden_of_experts(thread, begin, end);
               });
    stages.add(tokens_ * width_, k * hidden_size_ * kBytes,
               [this](int64_t thread, int64_t begin, int64_t end) {
                 outputs_of_experts(routes_->wide(thread), begin, end);
               });
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

  void hidden_of_experts(int64_t thread, int64_t begin, int64_t end) {
    const LinearInput<S> x = normed_.on(thread);
    const auto chosen = routes_->on(thread, x);
    for_each_matrix(hidden_size_, begin, end, [&](int64_t i, int64_t first, int64_t last) {
      const S* token = x.data + i / step_.choice.top_k * width_;
      make_hidden({token, 1, width_, width_}, chosen.experts[i], hidden_ + 2 * i * hidden_size_,
                  first, last);
    });
  }

  // `sum` has room for a token.
  void outputs_of_experts(C* sum, int64_t begin, int64_t end) {
    const int64_t k = step_.choice.top_k, size = tokens_ * width_;
    const auto chosen = routes_->found();
    for_each_matrix(width_, begin, end, [&](int64_t token, int64_t first, int64_t last) {
      std::fill(sum, sum + (last - first), C{0});
      for (int64_t slot = 0; slot < k; ++slot) {
        const int64_t i = token * k + slot;
        S* const y = outputs_ + (1 + slot) * size + token * width_;
        parts_.linear({hidden_ + 2 * i * hidden_size_, 1, hidden_size_, hidden_size_},
                      {width_, step_.down + chosen.experts[i] * width_ * hidden_size_, hidden_size_,
                       nullptr, y},
                      first, last);
        const auto* values = reinterpret_cast<const LibTorchType<S>*>(y);
        for (int64_t j = first; j < last; ++j) {
          sum[j - first] += chosen.weights[i] * static_cast<C>(values[j]);
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
  std::optional<Routes<S>> routes_;  // of experts
  S* hidden_;                        // [2, n, f]; of experts [n k, 2, f]
  S* outputs_;                       // [n, d]; of experts [1 + k, n, d], the sum first
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
