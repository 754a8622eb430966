#include "models/kernels/swiglu_step.h"

#include "base/check.h"
#include "models/kernels/cpu/swiglu_step.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/residual.h"
#include "models/kernels/staged_work.h"

namespace weft {
namespace {

void check(const char* name, const Tensor& t, at::IntArrayRef sizes, at::ScalarType type) {
  check_dense("swiglu_step", name, t, sizes, type);
}

void check_experts(const SwigluStepWeights& w, int64_t d, at::ScalarType storage) {
  WEFT_CHECK(w.gate.dim() == 3, "swiglu_step: gates of experts are ", w.gate.sizes());
  const int64_t experts = w.gate.size(0), f = w.gate.size(1);
  check("gate", w.gate, {experts, f, d}, storage);
  check("up", w.up, w.gate.sizes(), storage);
  check("down", w.down, {experts, d, f}, storage);
  check("router", w.router, {experts, d}, wide_type(storage));
  WEFT_CHECK(w.choice.experts == experts && w.choice.top_k >= 1 && w.choice.top_k <= experts,
             "swiglu_step: ", w.choice.top_k, " of ", w.choice.experts, " experts, there are ",
             experts);
  WEFT_CHECK(!w.gate_bias.defined() && !w.up_bias.defined() && !w.down_bias.defined(),
             "swiglu_step: experts have no biases");
}

void check_dense_part(const SwigluStepWeights& w, int64_t d, at::ScalarType storage) {
  WEFT_CHECK(w.gate.dim() == 2, "swiglu_step: the gate is ", w.gate.sizes());
  const int64_t f = w.gate.size(0);
  check("gate", w.gate, {f, d}, storage);
  check("up", w.up, w.gate.sizes(), storage);
  check("down", w.down, {d, f}, storage);
  if (w.gate_bias.defined()) check("gate_bias", w.gate_bias, {f}, storage);
  if (w.up_bias.defined()) check("up_bias", w.up_bias, {f}, storage);
  if (w.down_bias.defined()) check("down_bias", w.down_bias, {d}, storage);
}

template <class S>
cpu::SwigluStep<S> raw_step(const SwigluStepWeights& w, const Tensor& x) {
  return {.residual = raw_residual<S>(x, w.norm, w.gate.scalar_type()),
          .hidden = w.gate.size(-2),
          .gate = values<S>(w.gate),
          .up = values<S>(w.up),
          .down = values<S>(w.down),
          .gate_bias = maybe_values<S>(w.gate_bias),
          .up_bias = maybe_values<S>(w.up_bias),
          .down_bias = maybe_values<S>(w.down_bias),
          .router = maybe_values<Compute<S>>(w.router),
          .choice = w.choice};
}

}  // namespace

void swiglu_step(const SwigluStepWeights& weights, Tensor& x, cpu::Isa isa) {
  cpu::Scratch scratch;
  swiglu_work(weights, x, scratch, isa)->run();
}

cpu::StagedWorkPtr swiglu_work(const SwigluStepWeights& weights, const Tensor& x,
                               cpu::Scratch& scratch, cpu::Isa isa) {
  const at::ScalarType storage = weights.gate.scalar_type();
  check_residual("swiglu_step", x, weights.norm, storage);
  if (weights.router.defined()) {
    check_experts(weights, x.size(-1), storage);
  } else {
    check_dense_part(weights, x.size(-1), storage);
  }
  if (x.numel() == 0) return owning(nullptr);
  return with_storage(weights.gate, [&](auto s) {
    using S = decltype(s);
    return owning(cpu::swiglu_work<S>(raw_step<S>(weights, x), scratch, isa), weights, x);
  });
}

}  // namespace weft
