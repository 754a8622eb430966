#include "models/layerwise.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace weft {

int64_t make_divisible(double value, int64_t divisor) {
  const int64_t half_up = static_cast<int64_t>(value + static_cast<double>(divisor) / 2);
  const int64_t rounded = std::max(divisor, half_up / divisor * divisor);
  return static_cast<double>(rounded) < 0.9 * value ? rounded + divisor : rounded;
}

double layerwise_value(const std::vector<double>& values, int64_t i, int64_t n) {
  const auto size = static_cast<int64_t>(values.size());
  WEFT_CHECK(size == 1 || size == 2 || size == n, size, " values for ", n, " layers");
  if (size == 1) return values[0];
  if (size == n && n != 2) return values[static_cast<size_t>(i)];
  if (n == 1) return values[0];
  const double share = static_cast<double>(i) / static_cast<double>(n - 1);
  return std::nearbyint((values[0] + (values[1] - values[0]) * share) * 100.0) / 100.0;
}

int64_t layerwise_heads(const LayerwiseHeads& shape, const std::vector<double>& qkv, int64_t i,
                        int64_t n) {
  const double width = layerwise_value(qkv, i, n) * static_cast<double>(shape.hidden_size);
  return make_divisible(width, shape.head_dim * shape.group) / shape.head_dim;
}

}  // namespace weft
