#pragma once
// The layers from their definitions, in plain operators and loops: what the modules are compared
// with.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include "base/check.h"
#include "models/config.h"
#include "models/documents.h"
#include "models/kernels/causal_conv.h"
#include "models/kernels/selective_scan.h"
#include "parallel/parameter_store.h"

namespace weft {

// Attention token by token from its definition.
inline Tensor plain_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                              const Documents& documents) {
  const int64_t group = q.size(2) / k.size(2);
  std::vector<Tensor> rows;
  for (const Segment& segment : documents.segments) {
    for (int64_t t = segment.begin; t < segment.end; ++t) {
      std::vector<Tensor> heads;
      for (int64_t h = 0; h < q.size(2); ++h) {
        const Tensor keys = k[segment.row].slice(0, segment.begin, t + 1).select(1, h / group);
        const Tensor values = v[segment.row].slice(0, segment.begin, t + 1).select(1, h / group);
        const Tensor scores = keys.mv(q[segment.row][t][h]) / std::sqrt(double(q.size(3)));
        heads.push_back(values.t().mv(scores.softmax(0)));
      }
      rows.push_back(at::stack(heads));
    }
  }
  return at::stack(rows).reshape(q.sizes());
}

// The mixture of experts token by token from its definition.
inline Tensor plain_moe(const ParameterStore& store, const std::string& prefix, const Tensor& x,
                        int64_t top_k, bool renormalize) {
  const auto value = [&](const char* name) { return store.compute(prefix + "." + name); };
  std::vector<Tensor> rows;
  for (const Tensor& token : x.reshape({-1, x.size(-1)}).unbind()) {
    const Tensor p = value("router.weight").mv(token).softmax(0);
    std::vector<int64_t> order(p.numel());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return p[a].item<double>() > p[b].item<double>();
    });
    Tensor sum = at::zeros_like(token), weight_sum = at::zeros_like(p[0]);
    for (int64_t j = 0; j < top_k; ++j) {
      const int64_t e = order[j];
      const Tensor gate = value("experts.gate.weight")[e].mv(token);
      const Tensor hidden = gate * gate.sigmoid() * value("experts.up.weight")[e].mv(token);
      sum = sum + p[e] * value("experts.down.weight")[e].mv(hidden);
      weight_sum = weight_sum + p[e];
    }
    rows.push_back(renormalize ? sum / weight_sum : sum);
  }
  return at::stack(rows).reshape(x.sizes());
}

inline Tensor plain_norm(const Tensor& x, const Tensor& weight, double eps) {
  return x / (x.square().mean(-1, /*keepdim=*/true) + eps).sqrt() * weight;
}

// The values of one model under their names.
struct PlainModel {
  const ModelConfig& config;
  const ParameterStore& store;

  Tensor norm(const Tensor& x, const std::string& name) const {
    return plain_norm(x, store.compute(name + ".weight"), config.norm.eps);
  }
  Tensor linear(const Tensor& x, const std::string& name) const {
    const Tensor y = x.matmul(store.compute(name + ".weight").t());
    return store.table().find(name + ".bias") == nullptr ? y : y + store.compute(name + ".bias");
  }

  // Channel j is rotated with j + e / 2 by position * theta^(-2 j / e).
  static Tensor rotate(const Tensor& x, const Tensor& positions, double theta) {
    const int64_t half = x.size(-1) / 2;
    const Tensor exponents = at::arange(half, x.options()) / static_cast<double>(half);
    const Tensor angles = positions.to(x.scalar_type()).unsqueeze(-1) * at::pow(theta, -exponents);
    const Tensor cos = angles.cos().unsqueeze(2), sin = angles.sin().unsqueeze(2);
    const Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
    return at::cat({a * cos - b * sin, b * cos + a * sin}, -1);
  }

  Tensor mixer(const AttentionConfig& a, const std::string& p, const Tensor& x,
               const Documents& documents) const {
    const auto heads = [&](const char* name, int64_t count) {
      return linear(x, p + name).reshape({x.size(0), x.size(1), count, a.head_dim});
    };
    Tensor q = heads(".q", a.num_heads), k = heads(".k", a.num_kv_heads);
    if (a.rope.type != RopeType::kNone) {
      q = rotate(q, documents.positions, a.rope.theta);
      k = rotate(k, documents.positions, a.rope.theta);
    }
    const Tensor y = plain_attention(q, k, heads(".v", a.num_kv_heads), documents);
    return linear(y.reshape({x.size(0), x.size(1), -1}), p + ".o");
  }

  Tensor mixer(const MambaConfig& c, const std::string& p, const Tensor& u,
               const Documents& documents) const {
    const Tensor x =
        causal_conv_silu_reference(linear(u, p + ".in_x"), store.compute(p + ".conv.weight"),
                                   store.compute(p + ".conv.bias"), documents.starts);
    const auto part = [&](const char* name, const char* norm_name) {
      const Tensor y = linear(x, p + name);
      return c.inner_norms ? norm(y, p + norm_name) : y;
    };
    const Tensor dt = part(".x_dt", ".dt_norm").matmul(store.compute(p + ".dt.weight").t());
    const Tensor y = selective_scan_reference({.x = x,
                                               .dt = dt,
                                               .b = part(".x_b", ".b_norm"),
                                               .c = part(".x_c", ".c_norm"),
                                               .z = linear(u, p + ".in_z"),
                                               .a_log = store.compute(p + ".a_log"),
                                               .d = store.compute(p + ".d"),
                                               .dt_bias = store.compute(p + ".dt.bias"),
                                               .starts = documents.starts});
    return linear(y, p + ".out");
  }

  Tensor mixer(const Mamba2Config&, const std::string&, const Tensor&, const Documents&) const {
    WEFT_CHECK(false, "Mamba-2 has its own reference (tests/kernels/ssd_test.cpp)");
    return {};
  }

  Tensor feed_forward(std::monostate, const std::string&, const Tensor& x) const {
    return at::zeros_like(x);
  }
  Tensor feed_forward(const MlpConfig&, const std::string& p, const Tensor& x) const {
    const Tensor gate = linear(x, p + ".gate");
    return linear(gate * gate.sigmoid() * linear(x, p + ".up"), p + ".down");
  }
  Tensor feed_forward(const MoeConfig& c, const std::string& p, const Tensor& x) const {
    return plain_moe(store, p, x, c.top_k, c.renormalize);
  }

  // Sum of -log p(target) over the targets that are not negative.
  Tensor nll_sum(const Tensor& tokens, const Tensor& targets, const Documents& documents) const {
    const Tensor embedding = store.compute("embedding.weight");
    Tensor x = embedding.index({tokens});
    for (size_t i = 0; i < config.layers.size(); ++i) {
      const LayerConfig& layer = config.layers[i];
      const std::string p = "layers." + std::to_string(i);
      const Tensor mixed = norm(x, p + ".mixer_norm");
      x = x +
          std::visit([&](const auto& part) { return mixer(part, p + ".mixer", mixed, documents); },
                     layer.mixer);
      const Tensor normed = norm(x, p + ".feed_forward_norm");
      x = x + std::visit(
                  [&](const auto& part) { return feed_forward(part, p + ".feed_forward", normed); },
                  layer.feed_forward);
    }
    const Tensor head = config.tie_embeddings ? embedding : store.compute("head.weight");
    const Tensor logits = norm(x, "final_norm").matmul(head.t());
    const Tensor log_p = logits - logits.exp().sum(-1, /*keepdim=*/true).log();
    const Tensor chosen = log_p.gather(-1, targets.clamp_min(0).unsqueeze(-1)).squeeze(-1);
    return -(chosen * targets.ge(0)).sum();
  }
};

}  // namespace weft
