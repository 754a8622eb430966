#pragma once
// The residual stream that steps of a few rows read and add to: x + part(norm(x)).
#include "base/tensor.h"
#include "models/kernels/cpu/residual.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/rms_norm_weights.h"

namespace weft {

// Ends the program unless x [.., d] is a dense residual stream around a part that computes in
// `storage` (fp32, fp64 or bf16): in that type, or in its wide one; and nothing needs a gradient.
void check_residual(const char* kernel, const Tensor& x, const RmsNormWeights& norm,
                    at::ScalarType storage);

// x as its rows; REQUIRES check_residual.
template <class S>
cpu::Residual<S> raw_residual(const Tensor& x, const RmsNormWeights& norm, at::ScalarType storage);

// weight [out, in] and bias [out] (or undefined), dense, for the raw kernels; their output goes to
// y [.., out].
template <class S>
cpu::LinearRows<S> raw_linear(const Tensor& weight, const Tensor& bias, S* y) {
  return {weight.size(0), values<S>(weight), weight.size(1),
          bias.defined() ? values<S>(bias) : nullptr, y};
}

// The elements of t, or null where it is undefined.
template <class S>
S* maybe_values(const Tensor& t) {
  return t.defined() ? values<S>(t) : nullptr;
}

}  // namespace weft
