#include "models/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "base/check.h"

namespace weft {

int64_t sample_token(const Tensor& logits, const SamplingConfig& config, double u) {
  WEFT_CHECK(logits.dim() == 1 && logits.numel() > 0, "logits must be [V]");
  const Tensor wide = logits.to(at::kDouble).contiguous();
  const double* values = wide.const_data_ptr<double>();
  if (config.temperature == 0) return std::max_element(values, values + wide.numel()) - values;
  std::vector<int64_t> order(wide.numel());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  if (config.top_k > 0 && config.top_k < static_cast<int64_t>(order.size())) {
    order.resize(config.top_k);
  }
  std::vector<double> mass(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    mass[i] = std::exp((values[order[i]] - values[order[0]]) / config.temperature);
  }
  const double all = std::accumulate(mass.begin(), mass.end(), 0.0);
  double kept = 0;
  size_t count = 0;
  while (count < mass.size() && kept < config.top_p * all) kept += mass[count++];
  count = std::max<size_t>(count, 1);
  kept = std::max(kept, mass[0]);
  while (count > 1 && mass[count - 1] < config.min_p * mass[0]) kept -= mass[--count];
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    sum += mass[i];
    if (u * kept < sum) return order[i];
  }
  return order[count - 1];
}

void penalize_repetition(Tensor logits, std::span<const int64_t> tokens, double penalty) {
  if (penalty == 1.0) return;
  const std::set<int64_t> seen(tokens.begin(), tokens.end());
  for (const int64_t token : seen) {
    WEFT_CHECK(0 <= token && token < logits.size(0), "token ", token, " of ", logits.size(0));
    const Tensor logit = logits[token];
    if (logit.item<double>() > 0) {
      logit.div_(penalty);
    } else {
      logit.mul_(penalty);
    }
  }
}

}  // namespace weft
