#include "models/flops.h"

namespace weft {
namespace {

double mixer_flops(const AttentionConfig& a, double d, double length) {
  const double query = static_cast<double>(a.num_heads * a.head_dim);
  const double key = static_cast<double>(a.num_kv_heads * a.head_dim);
  return 2 * d * (2 * query + 2 * key) + 2 * query * (length + 1);
}

double mixer_flops(const MambaConfig& m, double d, double) {
  const double di = static_cast<double>(m.inner_size);
  const double r = static_cast<double>(m.dt_rank);
  const double n = static_cast<double>(m.state_size);
  const double projections = 2 * d * di * 3 + 2 * di * (r + 2 * n) + 2 * r * di;
  const double scan = (9 * n + 3) * di;
  return projections + 2 * static_cast<double>(m.conv_kernel) * di + scan;
}

double feed_forward_flops(std::monostate, double) { return 0; }
double feed_forward_flops(const MlpConfig& m, double d) {
  return 6 * d * static_cast<double>(m.intermediate_size);
}
double feed_forward_flops(const MoeConfig& m, double d) {
  return 2 * d * static_cast<double>(m.num_experts) +
         static_cast<double>(m.top_k) * 6 * d * static_cast<double>(m.intermediate_size);
}

}  // namespace

double forward_flops_per_token(const ModelConfig& config, int64_t sequence_length) {
  const double d = static_cast<double>(config.hidden_size);
  double flops = 2 * d * static_cast<double>(config.vocab_size);
  for (const LayerConfig& layer : config.layers) {
    flops += std::visit(
        [&](const auto& mixer) {
          return mixer_flops(mixer, d, static_cast<double>(sequence_length));
        },
        layer.mixer);
    flops += std::visit([&](const auto& part) { return feed_forward_flops(part, d); },
                        layer.feed_forward);
  }
  return flops;
}

}  // namespace weft
