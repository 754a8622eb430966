#include "models/kernels/cpu/row_linear.h"

#include <algorithm>

#include "models/kernels/cpu/row_linear_span.h"
#include "models/kernels/cpu/tasks.h"

namespace weft::cpu {
namespace {

// Reading this takes a thread some 2 us; starting and joining two threads takes 1 us where they
// spin while they wait, and 5 us where they don't.
constexpr int64_t kBytesPerThread = 48 << 10;

// What a thread reads in some 0.3 us: the least that another takes over from it.
constexpr int64_t kBytesPerTask = 8 << 10;

}  // namespace

template <class S>
void row_linear(const LinearInput<S>& x, const LinearLayers<S>& layers, Isa isa) {
  const auto part = isa == Isa::kAvx512 ? avx512::row_linear_part<S>
                    : isa == Isa::kAvx2 ? avx2::row_linear_part<S>
                                        : baseline::row_linear_part<S>;
  const int64_t out = outputs_of(layers);
  const int64_t row_bytes = std::max<int64_t>(1, x.in * static_cast<int64_t>(sizeof(S)));
  const int64_t rows = std::max<int64_t>(1, kBytesPerTask / row_bytes);  // of a task
  const auto run = [&](int64_t first, int64_t end) {
    row_linear_span(x, layers, first * rows, std::min(out, end * rows), part);
  };
  run_shared_tasks((out + rows - 1) / rows, run,
                   /*at_least=*/std::max<int64_t>(1, kBytesPerThread / (rows * row_bytes)));
}

template void row_linear<float>(const LinearInput<float>&, const LinearLayers<float>&, Isa);
template void row_linear<double>(const LinearInput<double>&, const LinearLayers<double>&, Isa);
template void row_linear<Bf16>(const LinearInput<Bf16>&, const LinearLayers<Bf16>&, Isa);

}  // namespace weft::cpu
