#include "models/kernels/attention_step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/attention_step.h"
#include "models/kernels/dispatch.h"

namespace weft {
namespace {

void check_operand(const char* name, const Tensor& t, const Tensor& q, at::IntArrayRef sizes) {
  WEFT_CHECK(t.is_cpu() && t.scalar_type() == q.scalar_type(), "attention_step: ", name, " is ",
             t.toString(), " on ", t.device(), ", q is ", q.toString());
  WEFT_CHECK(t.sizes() == sizes, "attention_step: ", name, " is ", t.sizes(), ", expected ", sizes);
}

void check_step(const AttentionStep& step) {
  const Tensor &q = step.q, &cache = step.k_cache;
  const at::ScalarType type = q.scalar_type();
  WEFT_CHECK(type == at::kFloat || type == at::kDouble || type == at::kBFloat16,
             "attention_step is for fp32, fp64 and bf16");
  WEFT_CHECK(!at::GradMode::is_enabled(), "attention_step has no gradient");
  WEFT_CHECK(q.dim() == 4 && q.size(1) == 1 && cache.dim() == 4, "attention_step: q is ", q.sizes(),
             ", the cache ", cache.sizes());
  const int64_t rows = q.size(0), width = q.size(3), kv_heads = cache.size(1);
  WEFT_CHECK(kv_heads > 0 && q.size(2) % kv_heads == 0 && cache.size(2) > 0, "attention_step: q ",
             q.sizes(), " with a cache of ", cache.sizes());
  check_operand("k", step.k, q, {rows, 1, kv_heads, width});
  check_operand("v", step.v, q, {rows, 1, kv_heads, width});
  check_operand("the cache of k", cache, q, {rows, kv_heads, cache.size(2), width});
  check_operand("the cache of v", step.v_cache, q, cache.sizes());
  for (const Tensor& t : {cache, step.v_cache}) {
    WEFT_CHECK(t.strides() == cache.strides() && t.stride(3) == 1 && t.stride(2) == width,
               "attention_step: the slots of a cache have gaps");
  }
  WEFT_CHECK(static_cast<int64_t>(step.lengths.size()) == rows, step.lengths.size(),
             " lengths for ", rows, " rows");
  if (!step.cos.defined()) return;
  WEFT_CHECK(width % 2 == 0, "attention_step: ", width, " channels cannot be paired");
  check_operand("cos", step.cos, q, {rows, 1, 1, width});
  check_operand("sin", step.sin, q, {rows, 1, 1, width});
}

}  // namespace

Tensor attention_step(const AttentionStep& step, cpu::Isa isa) {
  check_step(step);
  const Tensor q = step.q.contiguous(), k = step.k.contiguous(), v = step.v.contiguous();
  const bool rotates = step.cos.defined();
  const Tensor cos = rotates ? step.cos.contiguous() : step.cos;
  const Tensor sin = rotates ? step.sin.contiguous() : step.sin;
  Tensor y = at::empty(q.sizes(), q.options());
  if (q.numel() == 0) return y;
  with_storage(q, [&](auto storage) {
    using S = decltype(storage);
    cpu::attention_step<S>({.rows = q.size(0),
                            .heads = q.size(2),
                            .kv_heads = k.size(2),
                            .width = q.size(3),
                            .slots = step.k_cache.size(2),
                            .q = values<S>(q),
                            .k = values<S>(k),
                            .v = values<S>(v),
                            .cos = rotates ? values<S>(cos) : nullptr,
                            .sin = rotates ? values<S>(sin) : nullptr,
                            .k_cache = values<S>(step.k_cache),
                            .v_cache = values<S>(step.v_cache),
                            .cache_row_stride = step.k_cache.stride(0),
                            .cache_head_stride = step.k_cache.stride(1),
                            .lengths = step.lengths.data(),
                            .y = values<S>(y)},
                           isa);
  });
  return y;
}

}  // namespace weft
