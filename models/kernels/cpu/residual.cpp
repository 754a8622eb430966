#include "models/kernels/cpu/residual.h"

#include "models/kernels/cpu/rms_norm.h"

namespace weft::cpu {
namespace {

constexpr int64_t kLine = 64;  // bytes

template <class S>
void norm_into(const Residual<S>& r, S* to) {
  using C = Compute<S>;
  using N = LibTorchType<S>;
  const RmsNormShape shape = {r.rows, r.width, r.eps};
  auto* y = reinterpret_cast<N*>(to);
  if (r.x == nullptr) {
    rms_norm_forward<C, C, N>(shape, r.wide_x, r.norm, y, nullptr);
  } else {
    rms_norm_forward<N, C, N>(shape, reinterpret_cast<const N*>(r.x), r.norm, y, nullptr);
  }
}

template <class X, class Y>
void add(X* x, const Y* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = x[i] + y[i];
}

}  // namespace

template <class S>
NormedResidual<S>::NormedResidual(const Residual<S>& residual, int64_t max_threads)
    : residual_(residual),
      thread_bytes_(kLine + to_lines(residual.rows * residual.width * sizeof(S))),
      memory_(aligned_bytes(max_threads * thread_bytes_)) {
  for (int64_t i = 0; i < max_threads; ++i) memory_.get()[i * thread_bytes_] = std::byte{0};
}

template <class S>
LinearInput<S> NormedResidual<S>::on(int64_t thread) const {
  std::byte* memory = memory_.get() + thread * thread_bytes_;
  S* normed = reinterpret_cast<S*>(memory + kLine);
  if (*memory == std::byte{0}) {
    norm_into(residual_, normed);
    *memory = std::byte{1};
  }
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
