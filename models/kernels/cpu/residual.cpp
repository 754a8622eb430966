#include "models/kernels/cpu/residual.h"

#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/rms_norm.h"

namespace weft::cpu {
namespace {

template <class X, class S>
void norm_rows(const Residual<S>& r, const X* x, S* to) {
  const auto run = WEFT_KERNEL_FOR(best_isa(), rms_norm_rows<X, S>);
  run({.rows = r.rows,
       .width = r.width,
       .eps = r.eps,
       .x = x,
       .x_stride = r.width,
       .added = nullptr,
       .sum = nullptr,
       .weight = r.norm,
       .y = to,
       .scale = nullptr});
}

template <class S>
void norm_into(const Residual<S>& r, S* to) {
  if (r.x != nullptr) return norm_rows<S>(r, r.x, to);
  norm_rows<Compute<S>>(r, r.wide_x, to);
}

template <class X, class Y>
void add(X* x, const Y* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = x[i] + y[i];
}

}  // namespace

template <class S>
NormedResidual<S>::NormedResidual(const Residual<S>& residual, int64_t max_threads,
                                  Scratch& scratch)
    : residual_(residual),
      thread_bytes_(to_lines(residual.rows * residual.width * sizeof(S))),
      memory_(scratch.take<std::byte>(max_threads * thread_bytes_)),
      made_(static_cast<size_t>(max_threads)) {}

template <class S>
void NormedResidual<S>::reset() {
  for (Made& thread : made_) thread.made = false;
}

template <class S>
LinearInput<S> NormedResidual<S>::on(int64_t thread) const {
  S* const normed = reinterpret_cast<S*>(memory_ + thread * thread_bytes_);
  bool& made = made_[static_cast<size_t>(thread)].made;
  if (!made) norm_into(residual_, normed);
  made = true;
  return {normed, residual_.rows, residual_.width, residual_.width};
}

template <class S>
void add_to_residual(const Residual<S>& r, const S* y, int64_t first, int64_t rows, int64_t begin,
                     int64_t end) {
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t to = (first + row) * r.width + begin;
    const auto* from = reinterpret_cast<const LibTorchType<S>*>(y) + row * r.width + begin;
    if (r.x == nullptr) {
      add(r.wide_x + to, from, end - begin);
    } else {
      add(reinterpret_cast<LibTorchType<S>*>(r.x) + to, from, end - begin);
    }
  }
}

#define WEFT_INSTANTIATE(S)                                                                 \
  template class NormedResidual<S>;                                                         \
  template void add_to_residual<S>(const Residual<S>&, const S*, int64_t, int64_t, int64_t, \
                                   int64_t);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)

}  // namespace weft::cpu
