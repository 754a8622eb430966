#include "models/kernels/mamba_step.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "base/check.h"
#include "models/kernels/cpu/mamba_step.h"
#include "models/kernels/dispatch.h"

namespace weft {
namespace {

struct Sizes {
  int64_t batch, channels, taps, rank, states;
};

Sizes sizes_of(const MambaStepInputs& in) {
  WEFT_CHECK(
      in.x.dim() == 3 && in.conv_weight.dim() == 2 && in.x_dt.dim() == 2 && in.x_b.dim() == 2,
      "mamba_step: x has three dimensions, conv_weight, x_dt and x_b have two");
  return {in.x.size(0), in.x.size(2), in.conv_weight.size(1), in.x_dt.size(0), in.x_b.size(0)};
}

void check(const char* name, const Tensor& t, at::IntArrayRef sizes, at::ScalarType type) {
  WEFT_CHECK(t.defined() && t.is_cpu() && t.sizes() == sizes && t.scalar_type() == type &&
                 t.is_contiguous(),
             "mamba_step: ", name, " is ", t.defined() ? t.toString() : "undefined", " ",
             t.defined() ? t.sizes() : at::IntArrayRef{}, ", expected contiguous ",
             at::toString(type), " ", sizes, " on the CPU");
}

void check_all(const MambaStepInputs& in, const Tensor& window, const Tensor& h, const Sizes& s) {
  const at::ScalarType storage = in.x.scalar_type();
  WEFT_CHECK(storage == at::kFloat || storage == at::kDouble || storage == at::kBFloat16,
             "mamba_step is for fp32, fp64 and bf16");
  WEFT_CHECK(!at::GradMode::is_enabled(), "mamba_step has no gradient");
  const at::ScalarType wide = storage == at::kDouble ? at::kDouble : at::kFloat;
  check("x", in.x, {s.batch, 1, s.channels}, storage);
  check("z", in.z, in.x.sizes(), storage);
  check("conv_weight", in.conv_weight, {s.channels, s.taps}, wide);
  if (in.conv_bias.defined()) check("conv_bias", in.conv_bias, {s.channels}, wide);
  check("x_dt", in.x_dt, {s.rank, s.channels}, storage);
  check("x_b", in.x_b, {s.states, s.channels}, storage);
  check("x_c", in.x_c, in.x_b.sizes(), storage);
  if (in.dt_norm.defined() || in.b_norm.defined() || in.c_norm.defined()) {
    check("dt_norm", in.dt_norm, {s.rank}, wide);
    check("b_norm", in.b_norm, {s.states}, wide);
    check("c_norm", in.c_norm, {s.states}, wide);
  }
  check("dt", in.dt, {s.channels, s.rank}, storage);
  check("dt_bias", in.dt_bias, {s.channels}, wide);
  check("a", in.a, {s.channels, s.states}, wide);
  check("d", in.d, {s.channels}, wide);
  check("starts", in.starts, {s.batch, 1}, at::kBool);
  check("window", window, {s.batch, s.taps - 1, s.channels}, storage);
  check("h", h, {s.batch, s.channels, s.states}, wide);
}

template <class S>
void run(const MambaStepInputs& in, const Sizes& s, Tensor& window, Tensor& h, Tensor& y,
         cpu::Isa isa) {
  using C = Compute<S>;
  // x after the convolution, dt, and what dt, B and C are made of.
  const Tensor memory =
      at::empty({s.batch, 2 * s.channels + s.rank + 2 * s.states}, in.x.options());
  S* const x = values<S>(memory);
  S* const dt = x + s.batch * s.channels;
  S* const low = dt + s.batch * s.channels;
  S* const b = low + s.batch * s.rank;
  S* const c = b + s.batch * s.states;
  const auto rows_of = [](S* data, int64_t width) { return Rows<S>{data, width, width}; };
  const auto read = [](const S* data, int64_t width) { return Rows<const S>{data, width, width}; };
  const auto layer = [](const Tensor& weight, S* to) {
    return cpu::LinearRows<S>{weight.size(0), values<S>(weight), weight.size(1), nullptr, to};
  };
  const auto maybe = [](const Tensor& t) { return t.defined() ? values<C>(t) : nullptr; };
  const cpu::MambaStep<S> step{
      .conv = {.in = {.shape = {s.batch, 1, s.channels, s.taps},
                      .x = rows<const S>(in.x),
                      .weight = values<C>(in.conv_weight),
                      .bias = maybe(in.conv_bias),
                      .starts = values<bool>(in.starts)},
               .y = rows_of(x, s.channels),
               .window = values<S>(window)},
      .projections = {layer(in.x_dt, low), layer(in.x_b, b), layer(in.x_c, c)},
      .norms = {maybe(in.dt_norm), maybe(in.b_norm), maybe(in.c_norm)},
      .norm_eps = in.norm_eps,
      .dt = layer(in.dt, dt),
      .scan = {.in = {.shape = {s.batch, 1, s.channels, s.states},
                      .x = read(x, s.channels),
                      .dt = read(dt, s.channels),
                      .b = read(b, s.states),
                      .c = read(c, s.states),
                      .z = rows<const S>(in.z),
                      .a_log = nullptr,
                      .d = values<C>(in.d),
                      .dt_bias = values<C>(in.dt_bias),
                      .starts = values<bool>(in.starts),
                      .a = values<C>(in.a)},
               .y = rows<S>(y),
               .entering = nullptr,
               .initial_state = values<C>(h),
               .final_state = values<C>(h)}};
  cpu::mamba_step(step, isa);
}

}  // namespace

Tensor mamba_step(const MambaStepInputs& in, Tensor& window, Tensor& h, cpu::Isa isa) {
  const Sizes sizes = sizes_of(in);
  check_all(in, window, h, sizes);
  Tensor y = at::empty(in.x.sizes(), in.x.options());
  if (y.numel() == 0) return y;
  with_storage(in.x, [&](auto storage) { run<decltype(storage)>(in, sizes, window, h, y, isa); });
  return y;
}

}  // namespace weft
