#include "models/attention.h"

#include <optional>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "base/check.h"
#include "models/kernels/block_attention.h"
#include "models/kernels/flash_attention.h"
#include "models/kernels/matmul.h"
#include "models/kernels/rotate.h"
#include "models/norm.h"

namespace weft {
namespace {

// LibTorch's kernel for q [Bz, T, H, e], k and v [Bz, S, KV, e], causal where `seen` [T, S] does
// not say which keys a query sees. Shared key/value heads are a view: the heads of one group are
// what the kernel takes for heads, the groups of one row for rows.
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v,
              const std::optional<Tensor>& seen = {}) {
  const int64_t kv = k.size(2), group = q.size(2) / kv;
  const auto kernel = [&](const Tensor& queries, const Tensor& keys, const Tensor& values) {
    return at::scaled_dot_product_attention(queries, keys, values, seen, /*dropout_p=*/0.0,
                                            /*is_causal=*/!seen.has_value());
  };
  if (group == 1) {
    return kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2);
  }
  const auto shared = [&](const Tensor& x) {  // [S, KV, e] -> [KV, group, S, e]
    return x.transpose(0, 1).unsqueeze(1).expand({kv, group, x.size(0), x.size(2)});
  };
  std::vector<Tensor> ys;
  for (int64_t row = 0; row < q.size(0); ++row) {
    const Tensor queries = q[row].unflatten(1, {kv, group}).permute({1, 2, 0, 3});
    ys.push_back(kernel(queries, shared(k[row]), shared(v[row])).permute({2, 0, 1, 3}));
  }
  return at::stack(ys).flatten(2, 3);
}

// The last q.size(1) of the k.size(1) tokens attend; each sees the tokens up to itself, but none
// that is `window` or more before it (0: all).
Tensor attend_at_end(const Tensor& q, const Tensor& k, const Tensor& v, int64_t window) {
  const int64_t queries = q.size(1), keys = k.size(1);
  const at::TensorOptions options = at::TensorOptions(at::kLong).device(q.device());
  const Tensor distance = at::arange(keys - queries, keys, options).unsqueeze(1) -
                          at::arange(keys, options);  // [queries, keys]
  Tensor seen = distance.ge(0);
  if (window > 0) seen = seen.logical_and(distance.lt(window));
  return attend(q, k, v, seen);
}

// Attention of the last T tokens in blocks, so that masks stay small and a window bounds the cost.
// q [Bz, T, H, e], k and v [Bz, S, KV, e] with S >= T.
Tensor attend_in_blocks(const Tensor& q, const Tensor& k, const Tensor& v, int64_t window) {
  constexpr int64_t kBlock = 1024;
  const int64_t block = window > 0 ? std::min(window, kBlock) : kBlock;
  const int64_t before = k.size(1) - q.size(1);
  std::vector<Tensor> parts;
  for (int64_t begin = 0; begin < q.size(1); begin += block) {
    const int64_t count = std::min(block, q.size(1) - begin);
    const int64_t end = before + begin + count;  // of the keys
    const int64_t first = window > 0 ? std::max<int64_t>(0, before + begin - window + 1) : 0;
    parts.push_back(attend_at_end(q.narrow(1, begin, count), k.narrow(1, first, end - first),
                                  v.narrow(1, first, end - first), window));
  }
  return at::cat(parts, 1);
}

Tensor attend_document(const Tensor& q, const Tensor& k, const Tensor& v, int64_t window) {
  return window > 0 && q.size(1) > window ? attend_in_blocks(q, k, v, window) : attend(q, k, v);
}

}  // namespace

bool has_cpu_attention(at::ScalarType type) { return has_matmul(type); }
bool has_gpu_attention(int64_t head_dim) { return has_flash_width(head_dim); }

Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const Documents& documents, int64_t window) {
  if (has_block_attention(q)) return block_attention(q, k, v, documents.segments, window);
  if (has_flash_attention(q)) return flash_attention(q, k, v, documents.packed, window);
  if (q.numel() == 0) return q;
  if (documents.one_per_row()) return attend_document(q, k, v, window);
  std::vector<int64_t> lengths;
  lengths.reserve(documents.segments.size());
  for (const Segment& segment : documents.segments) lengths.push_back(segment.end - segment.begin);
  const auto pieces = [&](const Tensor& x) {
    return x.reshape({1, -1, x.size(2), x.size(3)}).split_with_sizes(lengths, 1);
  };
  const std::vector<Tensor> qs = pieces(q), ks = pieces(k), vs = pieces(v);
  std::vector<Tensor> ys;
  ys.reserve(lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    ys.push_back(attend_document(qs[i], ks[i], vs[i], window));
  }
  return at::cat(ys, 1).reshape(q.sizes());
}

void Attention::declare(const ModelConfig& model, const AttentionConfig& config,
                        const std::string& prefix, ParameterTable& table) {
  const int64_t d = model.hidden_size;
  const int64_t query = config.num_heads * config.head_dim;
  const int64_t key = config.num_kv_heads * config.head_dim;
  const auto into = [&](const char* name, int64_t out) {
    declare_linear(model, Projection::kInto, prefix + name, {out, d, config.bias, prefix + ".qkv"},
                   table);
  };
  into(".q", query);
  into(".k", key);
  into(".v", key);
  if (config.qk_norm) {
    table.add(norm_weight(prefix + ".q_norm.weight", config.head_dim));
    table.add(norm_weight(prefix + ".k_norm.weight", config.head_dim));
  }
  declare_linear(model, Projection::kBack, prefix + ".o", {d, query, config.bias}, table);
}

Attention::Attention(const AttentionConfig& config, double norm_eps, const ParameterStore& store,
                     const std::string& prefix)
    : config_(config),
      norm_eps_(norm_eps),
      q_(store, prefix + ".q"),
      k_(store, prefix + ".k"),
      v_(store, prefix + ".v"),
      qkv_(store, prefix + ".qkv"),
      o_(store, prefix + ".o") {
  if (!config.qk_norm) return;
  q_norm_ = store.compute(prefix + ".q_norm.weight");
  k_norm_ = store.compute(prefix + ".k_norm.weight");
}

Attention::Heads Attention::project(const Tensor& x) const {
  const int64_t rows = x.size(0), length = x.size(1), e = config_.head_dim;
  const int64_t query = config_.num_heads * e, key = config_.num_kv_heads * e;
  const std::vector<Tensor> qkv = qkv_(x).split_with_sizes({query, key, key}, -1);
  return {qkv[0].reshape({rows, length, config_.num_heads, e}),
          qkv[1].reshape({rows, length, config_.num_kv_heads, e}),
          qkv[2].reshape({rows, length, config_.num_kv_heads, e})};
}

Tensor Attention::placed(const Tensor& heads, const Tensor& norm, const Rotation* rotation) const {
  if (!norm.defined()) return rotation == nullptr ? heads : (*rotation)(heads);
  if (rotation == nullptr) return rms_norm(heads, norm, norm_eps_);
  return norm_rotate(heads, {norm, norm_eps_}, rotation->cos, rotation->sin);
}

const Rotation* Attention::rotation_of(Rotations& rotations, at::ScalarType type) const {
  if (config_.rope.type == RopeType::kNone) return nullptr;
  return &rotations.get(config_.rope, config_.head_dim, type);
}

Tensor Attention::forward(const Tensor& x, const ForwardPass& pass) const {
  Heads heads = project(x);
  const Rotation* const rotation = rotation_of(pass.rotations, heads.q.scalar_type());
  heads.q = placed(heads.q, q_norm_, rotation);
  heads.k = placed(heads.k, k_norm_, rotation);
  const Tensor y =
      causal_attention(heads.q, heads.k, heads.v, pass.documents, config_.sliding_window);
  return o_(y.reshape({x.size(0), x.size(1), config_.num_heads * config_.head_dim}));
}

Tensor Attention::extend(const Tensor& x, NewTokens& tokens, AttentionState& state) const {
  Heads heads = project(x);
  if (tokens.count == 1 && x.is_cpu() && can_decode()) {  // the kernel rotates
    heads.q = placed(heads.q, q_norm_, nullptr);
    heads.k = placed(heads.k, k_norm_, nullptr);
    const Tensor y = attention_step(step_of(heads, tokens, state));
    return o_(y.view({x.size(0), 1, config_.num_heads * config_.head_dim}));
  }
  const Rotation* const rotation = rotation_of(tokens.rotations, heads.q.scalar_type());
  heads.q = placed(heads.q, q_norm_, rotation);
  heads.k = placed(heads.k, k_norm_, config_.rope.type == RopeType::kDynamic ? nullptr : rotation);
  const Tensor y =
      tokens.count == 1 ? one_token(heads, tokens, state) : many_tokens(heads, tokens, state);
  return o_(y.reshape({x.size(0), x.size(1), config_.num_heads * config_.head_dim}));
}

// k [Bz, KV, S, e], the first S tokens of each row: rotated now where that waits for the length.
Tensor Attention::rotate_cached(const Tensor& k, const NewTokens& tokens) const {
  if (config_.rope.type != RopeType::kDynamic) return k;
  const std::vector<int64_t> shape = {k.size(0), k.size(2)};
  std::vector<int64_t> lengths = tokens.lengths;
  for (int64_t& length : lengths) length += tokens.count;
  Rotations rotations(
      at::arange(k.size(2), at::TensorOptions(at::kLong).device(k.device())).expand(shape),
      at::tensor(lengths, at::kLong).unsqueeze(1).expand(shape));
  return rotations.get(config_.rope, config_.head_dim, k.scalar_type())(k.transpose(1, 2))
      .transpose(1, 2);
}

AttentionStep Attention::step_of(const Heads& heads, NewTokens& tokens,
                                 const AttentionState& state) const {
  AttentionStep step{.q = heads.q,
                     .k = heads.k,
                     .v = heads.v,
                     .cos = {},
                     .sin = {},
                     .k_cache = state.k,
                     .v_cache = state.v,
                     .lengths = tokens.lengths};
  if (config_.rope.type != RopeType::kNone) {
    const Rotation& rotation =
        tokens.rotations.get(config_.rope, config_.head_dim, q_.weight.scalar_type());
    step.cos = rotation.cos;
    step.sin = rotation.sin;
  }
  return step;
}

cpu::StagedWorkPtr Attention::decoding_work(const RmsNormWeights& norm, NewTokens& tokens,
                                            AttentionState& state, const Tensor& x,
                                            cpu::Scratch& scratch) const {
  WEFT_CHECK(can_decode(), "no kernel decodes with rope dynamic");
  const AttentionLayerWeights weights{.norm = norm,
                                      .q = q_.weight,
                                      .k = k_.weight,
                                      .v = v_.weight,
                                      .o = o_.weight,
                                      .q_bias = q_.bias,
                                      .k_bias = k_.bias,
                                      .v_bias = v_.bias,
                                      .o_bias = o_.bias,
                                      .q_norm = q_norm_,
                                      .k_norm = k_norm_,
                                      .norm_eps = norm_eps_};
  return attention_layer_work(weights, step_of({}, tokens, state), x, scratch);
}

Tensor Attention::one_token(const Heads& heads, const NewTokens& tokens,
                            AttentionState& state) const {
  const int64_t rows = heads.q.size(0), kv = config_.num_kv_heads, slots = state.k.size(2);
  int64_t most = 0;  // slots in use
  const int64_t at_once = tokens.same_lengths() ? rows : 1;
  for (int64_t row = 0; row < rows; row += at_once) {
    const int64_t slot = tokens.lengths[row] % slots;
    const auto store = [&](const Tensor& cached, const Tensor& fresh) {  // [Bz, 1, KV, e]
      cached.narrow(0, row, at_once)
          .narrow(2, slot, 1)
          .copy_(fresh.narrow(0, row, at_once).transpose(1, 2));
    };
    store(state.k, heads.k);
    store(state.v, heads.v);
    most = std::max(most, std::min(tokens.lengths[row] + 1, slots));
  }
  std::optional<Tensor> seen;  // none: all slots
  if (!tokens.same_lengths()) {
    const at::Device device = heads.q.device();
    const Tensor lengths = at::tensor(tokens.lengths, at::kLong).to(device) + 1;
    seen = at::arange(most, at::TensorOptions(at::kLong).device(device))
               .lt(lengths.unsqueeze(1))
               .reshape({rows, 1, 1, most});
  }
  // The query heads of one key/value head become queries beside each other; none is before another.
  const Tensor q = heads.q.reshape({rows, kv, config_.num_heads / kv, config_.head_dim});
  return at::scaled_dot_product_attention(q, rotate_cached(state.k.narrow(2, 0, most), tokens),
                                          state.v.narrow(2, 0, most), seen);
}

Tensor Attention::many_tokens(const Heads& heads, const NewTokens& tokens,
                              AttentionState& state) const {
  WEFT_CHECK(tokens.same_lengths(), "several tokens at once need rows of equal lengths");
  if (heads.q.numel() == 0) return heads.q;
  const int64_t before = tokens.lengths[0], slots = state.k.size(2);
  const int64_t kept = std::min(before, slots);
  const at::TensorOptions options = at::TensorOptions(at::kLong).device(heads.q.device());
  const auto slots_from = [&](int64_t first, int64_t count) {
    return at::arange(first, first + count, options).remainder(slots);
  };
  const Tensor old_slots = slots_from(before - kept, kept);
  const auto joined = [&](const Tensor& cached, const Tensor& fresh) {  // [Bz, KV, S, e]
    return at::cat({cached.index_select(2, old_slots), fresh.transpose(1, 2)}, 2);
  };
  const Tensor k = joined(state.k, heads.k), v = joined(state.v, heads.v);
  const int64_t stored = std::min(tokens.count, slots);
  const Tensor new_slots = slots_from(before + tokens.count - stored, stored);
  state.k.index_copy_(2, new_slots, k.narrow(2, k.size(2) - stored, stored));
  state.v.index_copy_(2, new_slots, v.narrow(2, v.size(2) - stored, stored));
  const Tensor keys = rotate_cached(k, tokens).transpose(1, 2), values = v.transpose(1, 2);
  return kept == 0 ? attend_document(heads.q, keys, values, config_.sliding_window)
                   : attend_in_blocks(heads.q, keys, values, config_.sliding_window);
}

}  // namespace weft
