#include "models/kernels/mamba_step.h"

#include "base/check.h"
#include "models/kernels/cpu/mamba_step.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/residual.h"
#include "models/kernels/staged_work.h"

namespace weft {
namespace {

struct Sizes {
  int64_t batch, hidden, channels, taps, rank, states;
};

Sizes sizes_of(const MambaStepWeights& w, const Tensor& x) {
  WEFT_CHECK(x.dim() == 3 && w.in_x.dim() == 2 && w.conv_weight.dim() == 2 && w.x_dt.dim() == 2 &&
                 w.x_b.dim() == 2,
             "mamba_step: x has three dimensions, in_x, conv_weight, x_dt and x_b have two");
  return {x.size(0),      x.size(2),    w.in_x.size(0), w.conv_weight.size(1),
          w.x_dt.size(0), w.x_b.size(0)};
}

void check_weights(const MambaStepWeights& w, const Sizes& s, at::ScalarType storage) {
  const at::ScalarType wide = wide_type(storage);
  const auto check = [](const char* name, const Tensor& t, at::IntArrayRef sizes,
                        at::ScalarType type) { check_dense("mamba_step", name, t, sizes, type); };
  check("in_x", w.in_x, {s.channels, s.hidden}, storage);
  check("in_z", w.in_z, w.in_x.sizes(), storage);
  if (w.in_x_bias.defined()) check("in_x_bias", w.in_x_bias, {s.channels}, storage);
  if (w.in_z_bias.defined()) check("in_z_bias", w.in_z_bias, {s.channels}, storage);
  check("conv_weight", w.conv_weight, {s.channels, s.taps}, wide);
  if (w.conv_bias.defined()) check("conv_bias", w.conv_bias, {s.channels}, wide);
  check("x_dt", w.x_dt, {s.rank, s.channels}, storage);
  check("x_b", w.x_b, {s.states, s.channels}, storage);
  check("x_c", w.x_c, w.x_b.sizes(), storage);
  if (w.dt_norm.defined() || w.b_norm.defined() || w.c_norm.defined()) {
    check("dt_norm", w.dt_norm, {s.rank}, wide);
    check("b_norm", w.b_norm, {s.states}, wide);
    check("c_norm", w.c_norm, {s.states}, wide);
  }
  check("dt", w.dt, {s.channels, s.rank}, storage);
  check("dt_bias", w.dt_bias, {s.channels}, wide);
  check("a", w.a, {s.channels, s.states}, wide);
  check("d", w.d, {s.channels}, wide);
  check("out", w.out, {s.hidden, s.channels}, storage);
  if (w.out_bias.defined()) check("out_bias", w.out_bias, {s.hidden}, storage);
}

void check_state(const MambaStepState& state, const Tensor& starts, const Sizes& s,
                 at::ScalarType storage) {
  check_dense("mamba_step", "starts", starts, {s.batch, 1}, at::kBool);
  check_dense("mamba_step", "window", state.window, {s.batch, s.taps - 1, s.channels}, storage);
  check_dense("mamba_step", "h", state.h, {s.batch, s.channels, s.states}, wide_type(storage));
}

template <class S>
cpu::StagedWorkPtr work_of(const MambaStepWeights& w, const Tensor& starts,
                           const MambaStepState& state, const Tensor& x, const Sizes& s,
                           cpu::Scratch& scratch, cpu::Isa isa) {
  using C = Compute<S>;
  const at::ScalarType storage = w.in_x.scalar_type();
  // x before and after the convolution, the gate, dt, and y of the scan; what dt, B and C are made
  // of; and what is added to the residual stream.
  S* free = scratch.take<S>(s.batch * (5 * s.channels + s.rank + 2 * s.states + s.hidden));
  const auto take = [&](int64_t width) {
    S* const taken = free;
    free += s.batch * width;
    return taken;
  };
  S *const u = take(s.channels), *const z = take(s.channels), *const conv = take(s.channels),
           *const dt = take(s.channels), *const y = take(s.channels);
  S *const low = take(s.rank), *const b = take(s.states), *const c = take(s.states);
  const auto rows_of = [](S* data, int64_t width) { return Rows<S>{data, width, width}; };
  const auto read = [](const S* data, int64_t width) { return Rows<const S>{data, width, width}; };
  const cpu::MambaStep<S> step{
      .residual = raw_residual<S>(x, w.norm, storage),
      .into = {raw_linear<S>(w.in_x, w.in_x_bias, u), raw_linear<S>(w.in_z, w.in_z_bias, z)},
      .conv = {.in = {.shape = {s.batch, 1, s.channels, s.taps},
                      .x = read(u, s.channels),
                      .weight = values<C>(w.conv_weight),
                      .bias = maybe_values<C>(w.conv_bias),
                      .starts = values<bool>(starts)},
               .y = rows_of(conv, s.channels),
               .window = values<S>(state.window)},
      .projections = {raw_linear<S>(w.x_dt, {}, low), raw_linear<S>(w.x_b, {}, b),
                      raw_linear<S>(w.x_c, {}, c)},
      .norms = {maybe_values<C>(w.dt_norm), maybe_values<C>(w.b_norm), maybe_values<C>(w.c_norm)},
      .norm_eps = w.norm_eps,
      .dt = raw_linear<S>(w.dt, {}, dt),
      .scan = {.in = {.shape = {s.batch, 1, s.channels, s.states},
                      .x = read(conv, s.channels),
                      .dt = read(dt, s.channels),
                      .b = read(b, s.states),
                      .c = read(c, s.states),
                      .z = read(z, s.channels),
                      .a_log = nullptr,
                      .d = values<C>(w.d),
                      .dt_bias = values<C>(w.dt_bias),
                      .starts = values<bool>(starts),
                      .a = values<C>(w.a)},
               .y = rows_of(y, s.channels),
               .entering = nullptr,
               .initial_state = values<C>(state.h),
               .final_state = values<C>(state.h)},
      .out = raw_linear<S>(w.out, w.out_bias, take(s.hidden))};
  return owning(cpu::mamba_work(step, scratch, isa), w, starts, state, x);
}

}  // namespace

void mamba_step(const MambaStepWeights& weights, const Tensor& starts, const MambaStepState& state,
                Tensor& x, cpu::Isa isa) {
  cpu::Scratch scratch;
  mamba_work(weights, starts, state, x, scratch, isa)->run();
}

cpu::StagedWorkPtr mamba_work(const MambaStepWeights& weights, const Tensor& starts,
                              const MambaStepState& state, const Tensor& x, cpu::Scratch& scratch,
                              cpu::Isa isa) {
  const at::ScalarType storage = weights.in_x.scalar_type();
  check_residual("mamba_step", x, weights.norm, storage);
  const Sizes sizes = sizes_of(weights, x);
  check_weights(weights, sizes, storage);
  check_state(state, starts, sizes, storage);
  check_dense("mamba_step", "x", x, {sizes.batch, 1, sizes.hidden}, x.scalar_type());
  if (x.numel() == 0) return owning(nullptr);
  return with_storage(weights.in_x, [&](auto s) {
    return work_of<decltype(s)>(weights, starts, state, x, sizes, scratch, isa);
  });
}

}  // namespace weft
