#pragma once
// Plain types shared by the raw CPU and CUDA kernels. No LibTorch header and no function: the CPU
// kernels are compiled once per instruction set, and an inline function from here could end up in
// the program in a version that the processor lacks.
#include <cstdint>

namespace weft {

// The bits of a bfloat16 number.
enum class Bf16 : uint16_t {};

// Sums and states are kept in this type where tensors are stored as S.
template <class S>
struct ComputeOf {
  using Type = float;
};
template <>
struct ComputeOf<double> {
  using Type = double;
};
template <class S>
using Compute = typename ComputeOf<S>::Type;

// A tensor [Bz, T, n] whose last dimension is dense: element (b, t, i) is
// data[b * batch_stride + t * row_stride + i].
template <class S>
struct Rows {
  S* data;
  int64_t batch_stride, row_stride;
};

}  // namespace weft
