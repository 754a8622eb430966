#pragma once
// Rotary positions of whole heads (spec/models.md 5; arXiv:2104.09864 3.2.2), forward and
// backward in one pass, also behind a norm of each head (spec/models.md 7; OpenELM,
// arXiv:2404.14619).
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/rms_norm_weights.h"

namespace weft {

// x [Bz, T, H, e] -> [Bz, T, H, e]: channel j of the first half becomes x_j cos_j + x_j' sin_j,
// with j' = j + e / 2, and channel j' becomes x_j' cos_j' + x_j sin_j'. cos and sin [Bz, T, 1, e]
// of x's type and without gradients, signs of the rotation in sin. Computed in the wide type and
// rounded once. Errors: other shapes and types, and an odd e, are a programmer's error.
Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin,
              cpu::Isa isa = cpu::best_isa());

// rotate(rms_norm(x)) with a weight [e] that all heads share, rounded as those two round; the sums
// of the weight's gradient do not depend on the number of threads.
Tensor norm_rotate(const Tensor& x, const RmsNormWeights& norm, const Tensor& cos,
                   const Tensor& sin, cpu::Isa isa = cpu::best_isa());

// rotate in plain operators.
Tensor rotate_reference(const Tensor& x, const Tensor& cos, const Tensor& sin);

}  // namespace weft
