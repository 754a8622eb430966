#include "models/kernels/dispatch.h"

#include "base/check.h"
#include "models/kernels/on_device.h"

namespace weft {

bool has_kernels_for(const Tensor& t) { return t.is_cpu() || (kHasCuda && t.is_cuda()); }

Tensor as_rows(const Tensor& t) {
  const int64_t width = t.size(-1);
  const Tensor rows = t.reshape({width == 0 ? 0 : t.numel() / width, width});
  return rows.size(1) > 1 && rows.stride(1) != 1 ? rows.contiguous() : rows;
}

void check_dense(const char* kernel, const char* name, const Tensor& t, at::IntArrayRef sizes,
                 at::ScalarType type) {
  WEFT_CHECK(t.defined() && t.is_cpu() && t.sizes() == sizes && t.scalar_type() == type &&
                 t.is_contiguous(),
             kernel, ": ", name, " is ", t.defined() ? t.toString() : "undefined", " ",
             t.defined() ? t.sizes() : at::IntArrayRef{}, ", expected contiguous ",
             at::toString(type), " ", sizes, " on the CPU");
}

}  // namespace weft
