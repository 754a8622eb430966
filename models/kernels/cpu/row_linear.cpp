#include "models/kernels/cpu/row_linear.h"

#include <algorithm>

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
  int64_t out = 0;  // of all layers
  for (int64_t l = 0; l < layers.count; ++l) out += layers.data[l].out;
  const int64_t row_bytes = std::max<int64_t>(1, x.in * static_cast<int64_t>(sizeof(S)));
  const int64_t rows = std::max<int64_t>(1, kBytesPerTask / row_bytes);  // of a task
  const auto run = [&](int64_t first_task, int64_t end_task) {
    const int64_t begin = first_task * rows, end = std::min(out, end_task * rows);
    int64_t offset = 0;
    for (int64_t l = 0; l < layers.count; offset += layers.data[l++].out) {
      const int64_t first = std::max<int64_t>(begin - offset, 0);
      const int64_t last = std::min(end - offset, layers.data[l].out);
      if (first < last) part(x, layers.data[l], first, last);
    }
  };
  run_shared_tasks((out + rows - 1) / rows, run,
                   /*at_least=*/std::max<int64_t>(1, kBytesPerThread / (rows * row_bytes)));
}

template void row_linear<float>(const LinearInput<float>&, const LinearLayers<float>&, Isa);
template void row_linear<double>(const LinearInput<double>&, const LinearLayers<double>&, Isa);
template void row_linear<Bf16>(const LinearInput<Bf16>&, const LinearLayers<Bf16>&, Isa);

}  // namespace weft::cpu
