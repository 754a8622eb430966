#include "models/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/scaled_dot_product_attention.h>

namespace weft {
namespace {

// Each key/value head once for every query head that uses it: [.., KV, e] -> [.., H, e].
Tensor repeat_heads(const Tensor& x, int64_t num_heads) {
  const int64_t group = num_heads / x.size(-2);
  if (group == 1) return x;
  std::vector<int64_t> shape = x.sizes().vec();
  std::vector<int64_t> wide = shape;
  wide.insert(wide.end() - 1, group);
  shape[shape.size() - 2] = num_heads;
  return x.unsqueeze(-2).expand(wide).reshape(shape);
}

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v) {  // [Bz, T, H, e]
  return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                          /*attn_mask=*/{}, /*dropout_p=*/0.0, /*is_causal=*/true)
      .transpose(1, 2);
}

}  // namespace

void Attention::declare(const ModelConfig& model, const AttentionConfig& config,
                        const std::string& prefix, ParameterTable& table) {
  const int64_t d = model.hidden_size;
  const int64_t query = config.num_heads * config.head_dim;
  const int64_t key = config.num_kv_heads * config.head_dim;
  declare_linear(model, Projection::kInto, prefix + ".q", {query, d, config.bias}, table);
  declare_linear(model, Projection::kInto, prefix + ".k", {key, d, config.bias}, table);
  declare_linear(model, Projection::kInto, prefix + ".v", {key, d, config.bias}, table);
  declare_linear(model, Projection::kBack, prefix + ".o", {d, query, config.bias}, table);
}

Attention::Attention(const AttentionConfig& config, const ParameterStore& store,
                     const std::string& prefix)
    : config_(config),
      q_(store, prefix + ".q"),
      k_(store, prefix + ".k"),
      v_(store, prefix + ".v"),
      o_(store, prefix + ".o") {}

Tensor Attention::forward(const Tensor& x, const Documents& documents) const {
  const int64_t rows = x.size(0), length = x.size(1), e = config_.head_dim;
  const std::vector<Tensor> qkv = joint_linear(x, {&q_, &k_, &v_});
  Tensor q = qkv[0].reshape({rows, length, config_.num_heads, e});
  Tensor k = qkv[1].reshape({rows, length, config_.num_kv_heads, e});
  const Tensor v = qkv[2].reshape({rows, length, config_.num_kv_heads, e});
  if (config_.rope.type != RopeType::kNone) {
    q = apply_rope(q, documents.positions, config_.rope);
    k = apply_rope(k, documents.positions, config_.rope);
  }
  const Tensor y = causal_attention(q, k, v, documents);
  return o_(y.reshape({rows, length, config_.num_heads * e}));
}

Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const Documents& documents) {
  const Tensor all_k = repeat_heads(k, q.size(2));
  const Tensor all_v = repeat_heads(v, q.size(2));
  if (documents.one_per_row() || q.numel() == 0) return attend(q, all_k, all_v);
  std::vector<int64_t> lengths;
  lengths.reserve(documents.segments.size());
  for (const Segment& segment : documents.segments) lengths.push_back(segment.end - segment.begin);
  const auto pieces = [&](const Tensor& x) {
    return x.reshape({1, -1, x.size(2), x.size(3)}).split_with_sizes(lengths, 1);
  };
  const std::vector<Tensor> qs = pieces(q), ks = pieces(all_k), vs = pieces(all_v);
  std::vector<Tensor> ys;
  ys.reserve(lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) ys.push_back(attend(qs[i], ks[i], vs[i]));
  return at::cat(ys, 1).reshape(q.sizes());
}

Tensor apply_rope(const Tensor& x, const Tensor& positions, const RopeConfig& config) {
  const int64_t e = x.size(-1);
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor exponent =
      at::arange(0, e, 2, at::TensorOptions(type).device(x.device())) / static_cast<double>(e);
  const Tensor frequency = at::pow(config.theta, exponent).reciprocal();  // [e/2]
  const Tensor angle =
      positions.to(type).unsqueeze(-1).mul(frequency).unsqueeze(2);  // [Bz,T,1,e/2]
  const Tensor cos = angle.cos().to(x.scalar_type());
  const Tensor sin = angle.sin().to(x.scalar_type());
  const std::vector<Tensor> halves = x.split(e / 2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
}

}  // namespace weft
