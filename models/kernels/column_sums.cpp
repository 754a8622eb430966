#include "models/kernels/column_sums.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>

#include "base/check.h"
#include "models/kernels/cpu/column_sums.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/dispatch.h"

namespace weft {

void add_column_sums(const Tensor& sum, const Tensor& rows_in, cpu::Isa isa) {
  const at::ScalarType type = rows_in.scalar_type();
  WEFT_CHECK(rows_in.dim() == 2 && sum.dim() == 1 && sum.size(0) == rows_in.size(1) &&
                 is_storage(type) && sum.scalar_type() == wide_type(type) && sum.is_contiguous() &&
                 sum.device() == rows_in.device(),
             "add_column_sums of ", rows_in.toString(), " ", rows_in.sizes(), " on ",
             rows_in.device(), " to ", sum.toString(), " ", sum.sizes(), " on ", sum.device());
  if (!rows_in.is_cpu()) {
    sum.add_(rows_in.sum({0}, /*keepdim=*/false, sum.scalar_type()));
    return;
  }
  const bool dense = rows_in.size(1) <= 1 || rows_in.stride(1) == 1;
  const Tensor rows = dense ? rows_in : rows_in.contiguous();
  const ProfileSpan span("weft::column_sums", WorkKind::kElementwise, moving({rows}));
  with_storage(rows, [&](auto storage) {
    using S = decltype(storage);
    const auto range = WEFT_KERNEL_FOR(isa, column_sums_range<S>);
    constexpr int64_t kColumnsPerThread = 256;
    at::parallel_for(0, rows.size(1), kColumnsPerThread, [&](int64_t begin, int64_t end) {
      range({values<const S>(rows), rows.stride(0), rows.size(0)}, begin, end,
            values<Compute<S>>(sum));
    });
  });
}

}  // namespace weft
