#include "models/kernels/residual.h"

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "models/kernels/dispatch.h"

namespace weft {

void check_residual(const char* kernel, const Tensor& x, const RmsNormWeights& norm,
                    at::ScalarType storage) {
  WEFT_CHECK(is_storage(storage), kernel, " is for fp32, fp64 and bf16");
  WEFT_CHECK(!at::GradMode::is_enabled(), kernel, " has no gradient");
  WEFT_CHECK(x.dim() > 0, kernel, ": x has no dimension");
  const at::ScalarType wide = wide_type(storage);
  check_dense(kernel, "x", x, x.sizes(), x.scalar_type() == wide ? wide : storage);
  check_dense(kernel, "norm", norm.weight, {x.size(-1)}, wide);
}

template <class S>
cpu::Residual<S> raw_residual(const Tensor& x, const RmsNormWeights& norm, at::ScalarType storage) {
  const int64_t width = x.size(-1);
  const bool wide = x.scalar_type() != storage;
  return {.rows = width > 0 ? x.numel() / width : 0,
          .width = width,
          .x = wide ? nullptr : values<S>(x),
          .wide_x = wide ? values<Compute<S>>(x) : nullptr,
          .norm = values<Compute<S>>(norm.weight),
          .eps = norm.eps};
}

template cpu::Residual<float> raw_residual<float>(const Tensor&, const RmsNormWeights&,
                                                  at::ScalarType);
template cpu::Residual<double> raw_residual<double>(const Tensor&, const RmsNormWeights&,
                                                    at::ScalarType);
template cpu::Residual<Bf16> raw_residual<Bf16>(const Tensor&, const RmsNormWeights&,
                                                at::ScalarType);

}  // namespace weft
