#include "optim/clip.h"

#include <cmath>
#include <vector>

#include "models/kernels/sum_of_squares.h"

namespace weft {

double gradient_norm(const ParameterStore& store) {
  std::vector<Tensor> gradients;
  for (const Parameter& p : store.parameters()) gradients.push_back(p.gradient);
  return std::sqrt(sum_of_squares(gradients));
}

double clip_factor(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm && std::isfinite(norm) ? max_norm / norm : 1;
}

}  // namespace weft
