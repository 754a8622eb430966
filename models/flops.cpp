#include "models/flops.h"

namespace weft {
namespace {

// Keys that a token sees, on average.
double mean_keys(const AttentionConfig& a, double length) {
  const double window = static_cast<double>(a.sliding_window);
  if (window <= 0 || window >= length) return (length + 1) / 2;
  return (window * (window + 1) / 2 + (length - window) * window) / length;
}

double mixer_flops(const AttentionConfig& a, double d, double length) {
  const double query = static_cast<double>(a.num_heads * a.head_dim);
  const double key = static_cast<double>(a.num_kv_heads * a.head_dim);
  return 2 * d * (2 * query + 2 * key) + 4 * query * mean_keys(a, length);
}

double mixer_flops(const MambaConfig& m, double d, double) {
  const double di = static_cast<double>(m.inner_size);
  const double r = static_cast<double>(m.dt_rank);
  const double n = static_cast<double>(m.state_size);
  const double projections = 2 * d * di * 3 + 2 * di * (r + 2 * n) + 2 * r * di;
  const double scan = (9 * n + 3) * di;
  return projections + 2 * static_cast<double>(m.conv_kernel) * di + scan;
}

double mixer_flops(const Mamba2Config& m, double d, double) {
  const double di = static_cast<double>(m.inner_size()), heads = static_cast<double>(m.num_heads);
  const double p = static_cast<double>(m.head_dim), n = static_cast<double>(m.state_size);
  const double g = static_cast<double>(m.num_groups), q = static_cast<double>(m.chunk_size);
  const double conv = static_cast<double>(m.conv_channels());
  const double projections = 2 * d * (di + conv + heads) + 2 * d * di;
  const double core = 2 * g * n * q + heads * (2 * p * q + 4 * p * n) + 3 * di;
  return projections + 2 * static_cast<double>(m.conv_kernel) * conv + core;
}

double feed_forward_flops(std::monostate, double) { return 0; }
double feed_forward_flops(const MlpConfig& m, double d) {
  return (m.gated ? 6 : 4) * d * static_cast<double>(m.intermediate_size);
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
