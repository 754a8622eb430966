#include "models/kernels/attention_step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/attention_layer.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/residual.h"
#include "models/kernels/staged_work.h"

namespace weft {
namespace {

void check_operand(const char* name, const Tensor& t, at::ScalarType type, at::IntArrayRef sizes) {
  WEFT_CHECK(t.is_cpu() && t.scalar_type() == type, "attention_step: ", name, " is ", t.toString(),
             " on ", t.device(), ", expected ", at::toString(type));
  WEFT_CHECK(t.sizes() == sizes, "attention_step: ", name, " is ", t.sizes(), ", expected ", sizes);
}

// Caches, rotation and lengths of a step of `rows` rows and `heads` heads.
void check_states(const AttentionStep& step, int64_t rows, int64_t heads, at::ScalarType type) {
  const Tensor& cache = step.k_cache;
  WEFT_CHECK(is_storage(type), "attention_step is for fp32, fp64 and bf16");
  WEFT_CHECK(!at::GradMode::is_enabled(), "attention_step has no gradient");
  WEFT_CHECK(
      cache.dim() == 4 && cache.size(1) > 0 && heads % cache.size(1) == 0 && cache.size(2) > 0,
      "attention_step: ", heads, " heads with a cache of ", cache.sizes());
  const int64_t width = cache.size(3);
  check_operand("the cache of k", cache, type, {rows, cache.size(1), cache.size(2), width});
  check_operand("the cache of v", step.v_cache, type, cache.sizes());
  for (const Tensor& t : {cache, step.v_cache}) {
    WEFT_CHECK(t.strides() == cache.strides() && t.stride(3) == 1 && t.stride(2) == width,
               "attention_step: the slots of a cache have gaps");
  }
  WEFT_CHECK(static_cast<int64_t>(step.lengths.size()) == rows, step.lengths.size(),
             " lengths for ", rows, " rows");
  for (const int64_t length : step.lengths) {
    WEFT_CHECK(length >= 0, "attention_step: a row with ", length, " tokens");
  }
  if (!step.cos.defined()) return;
  WEFT_CHECK(width % 2 == 0, "attention_step: ", width, " channels cannot be paired");
  check_operand("cos", step.cos, type, {rows, 1, 1, width});
  check_operand("sin", step.sin, type, {rows, 1, 1, width});
}

void check_step(const AttentionStep& step) {
  const Tensor& q = step.q;
  WEFT_CHECK(q.dim() == 4 && q.size(1) == 1, "attention_step: q is ", q.sizes());
  check_states(step, q.size(0), q.size(2), q.scalar_type());
  const int64_t kv_heads = step.k_cache.size(1), width = step.k_cache.size(3);
  check_operand("q", q, q.scalar_type(), {q.size(0), 1, q.size(2), width});
  check_operand("k", step.k, q.scalar_type(), {q.size(0), 1, kv_heads, width});
  check_operand("v", step.v, q.scalar_type(), step.k.sizes());
}

void check_weights(const AttentionLayerWeights& w, const AttentionStep& step, const Tensor& x) {
  WEFT_CHECK(!step.q.defined() && !step.k.defined() && !step.v.defined(),
             "attention_step: a layer makes q, k and v itself");
  const at::ScalarType storage = w.q.scalar_type();
  check_residual("attention_step", x, w.norm, storage);
  WEFT_CHECK(x.dim() == 3 && x.size(1) == 1 && w.q.dim() == 2 && step.k_cache.dim() == 4,
             "attention_step: x is ", x.sizes(), ", q ", w.q.sizes());
  const int64_t d = x.size(2), query = w.q.size(0), width = step.k_cache.size(3);
  const int64_t key = step.k_cache.size(1) * width;
  const auto check = [](const char* name, const Tensor& t, at::IntArrayRef sizes,
                        at::ScalarType type) {
    check_dense("attention_step", name, t, sizes, type);
  };
  WEFT_CHECK(width > 0 && query % width == 0, "attention_step: ", query, " queries in heads of ",
             width);
  check_states(step, x.size(0), query / width, storage);
  check("q", w.q, {query, d}, storage);
  check("k", w.k, {key, d}, storage);
  check("v", w.v, {key, d}, storage);
  check("o", w.o, {d, query}, storage);
  if (w.q_bias.defined()) check("q_bias", w.q_bias, {query}, storage);
  if (w.k_bias.defined()) check("k_bias", w.k_bias, {key}, storage);
  if (w.v_bias.defined()) check("v_bias", w.v_bias, {key}, storage);
  if (w.o_bias.defined()) check("o_bias", w.o_bias, {d}, storage);
  if (!w.q_norm.defined() && !w.k_norm.defined()) return;
  check("q_norm", w.q_norm, {width}, wide_type(storage));
  check("k_norm", w.k_norm, {width}, wide_type(storage));
}

Tensor dense(const Tensor& t) { return t.defined() ? t.contiguous() : t; }

// What does not depend on where q, k, v and y are.
template <class S>
cpu::AttentionStepRaw<S> raw_step(const AttentionStep& step, int64_t heads, const Tensor& cos,
                                  const Tensor& sin) {
  const Tensor& cache = step.k_cache;
  return {.rows = cache.size(0),
          .heads = heads,
          .kv_heads = cache.size(1),
          .width = cache.size(3),
          .slots = cache.size(2),
          .q = nullptr,
          .k = nullptr,
          .v = nullptr,
          .cos = maybe_values<S>(cos),
          .sin = maybe_values<S>(sin),
          .k_cache = values<S>(cache),
          .v_cache = values<S>(step.v_cache),
          .cache_row_stride = cache.stride(0),
          .cache_head_stride = cache.stride(1),
          .lengths = step.lengths.data(),
          .y = nullptr};
}

template <class S>
cpu::StagedWorkPtr layer_work(const AttentionLayerWeights& w, const AttentionStep& step,
                              const Tensor& x, cpu::Scratch& scratch, cpu::Isa isa) {
  const int64_t rows = x.size(0), d = x.size(2), query = w.q.size(0), key = w.k.size(0);
  S* const q = scratch.take<S>(rows * (2 * query + 2 * key + d));
  S *const k = q + rows * query, *const v = k + rows * key, *const y = v + rows * key;
  cpu::AttentionLayer<S> layer{
      .residual = raw_residual<S>(x, w.norm, w.q.scalar_type()),
      .into = {raw_linear<S>(w.q, w.q_bias, q), raw_linear<S>(w.k, w.k_bias, k),
               raw_linear<S>(w.v, w.v_bias, v)},
      .norms = {maybe_values<Compute<S>>(w.q_norm), maybe_values<Compute<S>>(w.k_norm)},
      .norm_eps = w.norm_eps,
      .step = raw_step<S>(step, query / step.k_cache.size(3), step.cos, step.sin),
      .out = raw_linear<S>(w.o, w.o_bias, y + rows * query)};
  layer.step.q = q;
  layer.step.k = k;
  layer.step.v = v;
  layer.step.y = y;
  return owning(cpu::attention_layer_work(layer, scratch, isa), w, step, x);
}

}  // namespace

Tensor attention_step(const AttentionStep& step, cpu::Isa isa) {
  check_step(step);
  const Tensor q = step.q.contiguous(), k = step.k.contiguous(), v = step.v.contiguous();
  const Tensor cos = dense(step.cos), sin = dense(step.sin);
  Tensor y = at::empty(q.sizes(), q.options());
  if (q.numel() == 0) return y;
  with_storage(q, [&](auto storage) {
    using S = decltype(storage);
    cpu::AttentionStepRaw<S> raw = raw_step<S>(step, q.size(2), cos, sin);
    raw.q = values<S>(q);
    raw.k = values<S>(k);
    raw.v = values<S>(v);
    raw.y = values<S>(y);
    cpu::attention_step<S>(raw, isa);
  });
  return y;
}

void attention_layer_step(const AttentionLayerWeights& weights, const AttentionStep& step,
                          Tensor& x, cpu::Isa isa) {
  AttentionStep with_dense_rotation = step;
  with_dense_rotation.cos = dense(step.cos);
  with_dense_rotation.sin = dense(step.sin);
  cpu::Scratch scratch;
  attention_layer_work(weights, with_dense_rotation, x, scratch, isa)->run();
}

cpu::StagedWorkPtr attention_layer_work(const AttentionLayerWeights& weights,
                                        const AttentionStep& step, const Tensor& x,
                                        cpu::Scratch& scratch, cpu::Isa isa) {
  check_weights(weights, step, x);
  WEFT_CHECK(!step.cos.defined() || (step.cos.is_contiguous() && step.sin.is_contiguous()),
             "attention_step: cos and sin have gaps");
  if (x.numel() == 0) return owning(nullptr);
  return with_storage(
      weights.q, [&](auto s) { return layer_work<decltype(s)>(weights, step, x, scratch, isa); });
}

}  // namespace weft
