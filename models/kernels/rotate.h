#pragma once
// Rotary positions of whole heads (spec/models.md 6.2; arXiv:2104.09864 3.2.2), forward and
// backward in one pass.
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// x [Bz, T, H, e] -> [Bz, T, H, e]: channel j of the first half becomes x_j cos_j + x_j' sin_j,
// with j' = j + e / 2, and channel j' becomes x_j' cos_j' + x_j sin_j'. cos and sin [Bz, T, 1, e]
// of x's type and without gradients, signs of the rotation in sin. Computed in the wide type and
// rounded once. On other devices than the CPU: LibTorch's operators. Errors: other shapes and
// types, and an odd e, are a programmer's error.
Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin,
              cpu::Isa isa = cpu::best_isa());

// The same in plain operators.
Tensor rotate_reference(const Tensor& x, const Tensor& cos, const Tensor& sin);

}  // namespace weft
