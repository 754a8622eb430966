#include "optim/clip.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/linalg_vector_norm.h>

namespace weft {
namespace {

// Gradients are summed in pieces of this many values, and the pieces in order: the sum does not
// depend on the number of threads.
constexpr int64_t kPiece = 1 << 15;

template <class T>
double sum_of_squares(const T* values, int64_t count) {
  constexpr int kLanes = 8;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lanes[j] += double(values[i + j]) * double(values[i + j]);
  }
  for (int j = 0; i + j < count; ++j) lanes[j] += double(values[i + j]) * double(values[i + j]);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

template <class T>
double sum_in_pieces(const Tensor& x) {
  const T* values = x.const_data_ptr<T>();
  const int64_t n = x.numel();
  std::vector<double> pieces((n + kPiece - 1) / kPiece);
  at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      pieces[i] = sum_of_squares(values + i * kPiece, std::min(kPiece, n - i * kPiece));
    }
  });
  double sum = 0;
  for (const double piece : pieces) sum += piece;
  return sum;
}

double sum_of_squares(const Tensor& gradient) {
  if (gradient.is_cuda()) {
    const double norm =
        at::linalg_vector_norm(gradient, 2, at::OptionalIntArrayRef(), false, at::kDouble)
            .item<double>();
    return norm * norm;
  }
  return gradient.scalar_type() == at::kDouble ? sum_in_pieces<double>(gradient)
                                               : sum_in_pieces<float>(gradient);
}

}  // namespace

double gradient_norm(const ParameterStore& store) {
  double sum = 0;
  for (const Parameter& p : store.parameters()) sum += sum_of_squares(p.gradient);
  return std::sqrt(sum);
}

double clip_factor(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm && std::isfinite(norm) ? max_norm / norm : 1;
}

}  // namespace weft
