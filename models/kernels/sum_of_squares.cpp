#include "models/kernels/sum_of_squares.h"

#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/sum_of_squares.h"
#include "models/kernels/cuda/sum_of_squares.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"
#include "models/kernels/pieces.h"

namespace weft {
namespace {

template <class C>
double sum_on_cpu(const std::vector<const C*>& tensors, const std::vector<int64_t>& sizes,
                  cpu::Isa isa) {
  const auto range = WEFT_KERNEL_FOR(isa, sum_of_squares_range<C>);
  std::vector<double> sums(count_pieces(sizes));
  for_each_piece(sizes, [&](const Piece& piece) {
    sums[piece.number] = range(tensors[piece.tensor] + piece.begin, piece.end - piece.begin);
  });
  double sum = 0;
  for (const double of_piece : sums) sum += of_piece;
  return sum;
}

template <class C>
double sum_all(const std::vector<Tensor>& tensors, cpu::Isa isa) {
  std::vector<const C*> values;
  std::vector<int64_t> sizes;
  Work work;
  for (const Tensor& t : tensors) {
    values.push_back(t.const_data_ptr<C>());
    sizes.push_back(t.numel());
    work.bytes += static_cast<double>(t.nbytes());
  }
  const ProfileSpan span("weft::sum_of_squares", WorkKind::kOptimizer, work);
  double sum = 0;
  on_device(
      "sum_of_squares", tensors[0],
      [&](auto stream) {
        const Tensor sums = at::empty({cuda::count_partial_squares(sizes) + 1},
                                      tensors[0].options().dtype(at::kDouble));
        auto* const total = sums.data_ptr<double>();
        cuda::sum_of_squares(values, sizes, total + 1, total, stream);
        sum = sums[0].item<double>();
      },
      [&] { sum = sum_on_cpu(values, sizes, isa); });
  return sum;
}

}  // namespace

double sum_of_squares(const std::vector<Tensor>& tensors, cpu::Isa isa) {
  if (tensors.empty()) return 0;
  const Tensor& first = tensors[0];
  for (const Tensor& t : tensors) {
    WEFT_CHECK((t.scalar_type() == at::kFloat || t.scalar_type() == at::kDouble) &&
                   t.is_contiguous() && t.scalar_type() == first.scalar_type() &&
                   t.device() == first.device(),
               "sum_of_squares of ", t.toString(), " ", t.sizes());
  }
  return first.scalar_type() == at::kDouble ? sum_all<double>(tensors, isa)
                                            : sum_all<float>(tensors, isa);
}

}  // namespace weft
