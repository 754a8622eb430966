#pragma once
// From tensors to the raw kernels' arguments.

#include <initializer_list>

#include "base/profile.h"
#include "base/tensor.h"
#include "models/kernels/raw.h"

namespace weft {

// Whether this program has kernels for tensors on t's device.
bool has_kernels_for(const Tensor& t);

// The type of sums, norms and states where tensors are stored in `storage`: fp64 for fp64, else
// fp32.
inline at::ScalarType wide_type(at::ScalarType storage) {
  return storage == at::kDouble ? at::kDouble : at::kFloat;
}

// Whether kernels store tensors in this type: fp32, fp64 or bf16.
inline bool is_storage(at::ScalarType type) {
  return type == at::kFloat || type == at::kDouble || type == at::kBFloat16;
}

// Ends the program unless t is dense, of this shape and type, and on the CPU. `kernel` and `name`
// say what of.
void check_dense(const char* kernel, const char* name, const Tensor& t, at::IntArrayRef sizes,
                 at::ScalarType type);

// The work of a kernel that does little but read or write each of these once; some may be
// undefined.
inline Work moving(std::initializer_list<Tensor> tensors) {
  Work work;
  for (const Tensor& t : tensors) {
    if (t.defined()) work.bytes += static_cast<double>(t.nbytes());
  }
  return work;
}

// f(S{}) for the storage type of t: fp64, fp32 or bf16.
template <class F>
auto with_storage(const Tensor& t, F f) {
  if (t.scalar_type() == at::kDouble) return f(double{});
  if (t.scalar_type() == at::kFloat) return f(float{});
  return f(Bf16{});
}

// t [.., n] as rows [m, n] with a dense last dimension: itself, or a copy.
Tensor as_rows(const Tensor& t);

// t [Bz, T, H, e] with dense channels: itself, or a copy.
inline Tensor with_dense_channels(const Tensor& t) {
  return t.size(3) > 1 && t.stride(3) != 1 ? t.contiguous() : t;
}

// t [Bz, T, n] with a dense last dimension: itself, or a copy where that has gaps.
inline Tensor with_dense_rows(const Tensor& t) {
  return t.size(2) > 1 && t.stride(2) != 1 ? t.contiguous() : t;
}

// The elements of such a tensor.
template <class S>
Rows<S> rows(const Tensor& t) {
  return {static_cast<S*>(t.data_ptr()), t.stride(0), t.stride(1)};
}

template <class S>
S* values(const Tensor& t) {
  return static_cast<S*>(t.data_ptr());
}

}  // namespace weft
