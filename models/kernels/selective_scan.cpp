#include "models/kernels/selective_scan.h"

#include <array>
#include <string>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/selective_scan.h"
#include "models/kernels/cuda/selective_scan.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"
#include "models/kernels/partials.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The inputs in the order of the autograd function's arguments.
using Parts = std::array<Tensor, 9>;  // x dt b c z a_log d dt_bias starts

Parts parts_of(const SelectiveScanInputs& in) {
  return {in.x, in.dt, in.b, in.c, in.z, in.a_log, in.d, in.dt_bias, in.starts};
}

SelectiveScanInputs inputs_of(const variable_list& p) {
  return {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], {}, {}};
}

void expect(const char* name, const Tensor& t, at::IntArrayRef sizes, at::ScalarType type,
            at::Device device) {
  WEFT_CHECK(t.defined() && t.sizes() == sizes && t.scalar_type() == type && t.device() == device,
             "selective_scan: ", name, " is ", t.defined() ? t.toString() : "undefined", " ",
             t.defined() ? t.sizes() : at::IntArrayRef{}, ", expected ", at::toString(type), " ",
             sizes, " on ", device);
}

void check_inputs(const SelectiveScanInputs& in) {
  WEFT_CHECK(in.x.dim() == 3 && in.b.dim() == 3, "selective_scan: x and b have three dimensions");
  const int64_t batch = in.x.size(0), time = in.x.size(1), channels = in.x.size(2);
  const int64_t states = in.b.size(2);
  const at::ScalarType storage = in.x.scalar_type();
  WEFT_CHECK(is_storage(storage), "selective_scan is for fp32, fp64 and bf16");
  const at::ScalarType compute = wide_type(storage);
  const at::Device device = in.x.device();
  expect("dt", in.dt, in.x.sizes(), storage, device);
  expect("z", in.z, in.x.sizes(), storage, device);
  expect("b", in.b, {batch, time, states}, storage, device);
  expect("c", in.c, {batch, time, states}, storage, device);
  expect("a_log", in.a_log, {channels, states}, compute, device);
  expect("d", in.d, {channels}, compute, device);
  expect("dt_bias", in.dt_bias, {channels}, compute, device);
  expect("starts", in.starts, {batch, time}, at::kBool, device);
  if (in.initial_state.defined()) {
    expect("initial_state", in.initial_state, {batch, channels, states}, compute, device);
  }
  if (in.a.defined()) {
    WEFT_CHECK(in.x.is_cpu() && time == 1, "selective_scan takes `a` for one token on the CPU");
    expect("a", in.a, {channels, states}, compute, device);
  }
}

bool needs_gradients(const SelectiveScanInputs& in) {
  bool any = in.initial_state.defined() && in.initial_state.requires_grad();
  for (const Tensor& t : parts_of(in)) any |= t.requires_grad();
  return any && at::GradMode::is_enabled();
}

// The inputs as the kernels read them: a copy is made only where the last dimension has gaps (or,
// for parameters, starts and state, any).
SelectiveScanInputs readable(const SelectiveScanInputs& in) {
  return {with_dense_rows(in.x),
          with_dense_rows(in.dt),
          with_dense_rows(in.b),
          with_dense_rows(in.c),
          with_dense_rows(in.z),
          in.a_log.contiguous(),
          in.d.contiguous(),
          in.dt_bias.contiguous(),
          in.starts.contiguous(),
          in.initial_state.defined() ? in.initial_state.contiguous() : Tensor{},
          in.a.defined() ? in.a.contiguous() : Tensor{}};
}

template <class S>
ScanInputs<S> raw(const SelectiveScanInputs& in) {
  using C = Compute<S>;
  return {.shape = {in.x.size(0), in.x.size(1), in.x.size(2), in.b.size(2)},
          .x = rows<const S>(in.x),
          .dt = rows<const S>(in.dt),
          .b = rows<const S>(in.b),
          .c = rows<const S>(in.c),
          .z = rows<const S>(in.z),
          .a_log = values<C>(in.a_log),
          .d = values<C>(in.d),
          .dt_bias = values<C>(in.dt_bias),
          .starts = values<bool>(in.starts),
          .a = in.a.defined() ? values<C>(in.a) : nullptr};
}

// The pass that `scan` is of (Forward or Backward), on the device that x is on.
template <class Pass>
void launch(const Pass& scan, const Tensor& x, cpu::Isa isa) {
  on_device(
      "selective_scan", x, [&](auto stream) { cuda::selective_scan(scan, stream); },
      [&] { cpu::selective_scan(scan, isa); });
}

// Groups of channels for which the device's backward pass leaves partial sums.
int64_t group_count(const Tensor& x) {
  if (x.is_cuda()) return (x.size(2) + cuda::kScanGroup - 1) / cuda::kScanGroup;
  return cpu::scan_groups(x.size(2));
}

struct Output {
  Tensor y, entering;  // entering is undefined where it is not kept
};

// Leaves the state after the last token in final_state where that is defined.
Output run_forward(const SelectiveScanInputs& in, bool keep_states, const Tensor& final_state,
                   cpu::Isa isa) {
  Output out{at::empty(in.x.sizes(), in.x.options()), {}};
  const int64_t chunks = (in.x.size(1) + kScanChunk - 1) / kScanChunk;
  const bool one_token = in.x.size(1) == 1 && final_state.defined();
  keep_states |= in.x.is_cuda() && !one_token;  // where the kernel itself needs them
  if (keep_states) {
    out.entering =
        at::empty({in.x.size(0), chunks, in.b.size(2), in.x.size(2)}, in.a_log.options());
  }
  const ProfileSpan span("weft::selective_scan", WorkKind::kScan,
                         moving({in.x, in.dt, in.b, in.c, in.z, out.y, out.entering}));
  with_storage(in.x, [&](auto storage) {
    using S = decltype(storage);
    using C = Compute<S>;
    const auto maybe = [](const Tensor& t) { return t.defined() ? values<C>(t) : nullptr; };
    const ScanForward<S> scan{.in = raw<S>(in),
                              .y = rows<S>(out.y),
                              .entering = maybe(out.entering),
                              .initial_state = maybe(in.initial_state),
                              .final_state = maybe(final_state)};
    launch(scan, in.x, isa);
  });
  return out;
}

variable_list run_backward(const SelectiveScanInputs& in, const Tensor& entering, const Tensor& dy,
                           cpu::Isa isa) {
  const int64_t batch = in.x.size(0), time = in.x.size(1), channels = in.x.size(2);
  const int64_t states = in.b.size(2), groups = group_count(in.x);
  const auto partial = [&](std::vector<int64_t> sizes) {
    return at::empty(sizes, in.a_log.options());
  };
  const auto same = [](const Tensor& t) { return at::empty(t.sizes(), t.options()); };
  const Tensor dx = same(in.x), ddt = same(in.dt), dz = same(in.z);
  const Tensor db = partial({groups, batch, time, states}), dc = partial(db.sizes().vec());
  const Tensor da_log = partial({batch, channels, states});
  const Tensor dd = partial({batch, channels}), ddt_bias = partial({batch, channels});
  const Tensor carries = in.x.is_cuda() ? partial(da_log.sizes().vec()) : Tensor();
  const ProfileSpan span(
      "weft::selective_scan_backward", WorkKind::kScan,
      moving({in.x, in.dt, in.b, in.c, in.z, dy, entering, dx, ddt, dz, db, dc, da_log}));
  with_storage(in.x, [&](auto storage) {
    using S = decltype(storage);
    using C = Compute<S>;
    const ScanBackward<S> scan{.in = raw<S>(in),
                               .entering = values<C>(entering),
                               .dy = rows<const S>(dy),
                               .dx = rows<S>(dx),
                               .ddt = rows<S>(ddt),
                               .dz = rows<S>(dz),
                               .db = values<C>(db),
                               .dc = values<C>(dc),
                               .da_log = values<C>(da_log),
                               .dd = values<C>(dd),
                               .ddt_bias = values<C>(ddt_bias),
                               .carries = carries.defined() ? values<C>(carries) : nullptr};
    launch(scan, in.x, isa);
  });
  return {dx,
          ddt,
          sum_partials(db, in.b),
          sum_partials(dc, in.c),
          dz,
          sum_partials(da_log, in.a_log),
          sum_partials(dd, in.d),
          sum_partials(ddt_bias, in.dt_bias)};
}

class SelectiveScanFunction final : public torch::autograd::Function<SelectiveScanFunction> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& dt, const Tensor& b,
                        const Tensor& c, const Tensor& z, const Tensor& a_log, const Tensor& d,
                        const Tensor& dt_bias, const Tensor& starts, int64_t isa) {
    const SelectiveScanInputs in = readable({x, dt, b, c, z, a_log, d, dt_bias, starts, {}, {}});
    const Output out = run_forward(in, /*keep_states=*/true, {}, static_cast<cpu::Isa>(isa));
    const Parts parts = parts_of(in);
    variable_list saved(parts.begin(), parts.end());
    saved.push_back(out.entering);
    ctx->save_for_backward(saved);
    ctx->saved_data["isa"] = isa;
    return out.y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "selective_scan is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    const auto isa = static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt());
    variable_list out = run_backward(inputs_of(saved), saved.back(), grads[0].contiguous(), isa);
    out.resize(10);  // starts and isa have no gradient
    return out;
  }
};

}  // namespace

Tensor selective_scan(const SelectiveScanInputs& in, cpu::Isa isa) {
  check_inputs(in);
  WEFT_CHECK(!in.initial_state.defined() && !in.a.defined(),
             "selective_scan has no initial_state and no a");
  if (!has_kernels_for(in.x)) return selective_scan_reference(in);
  if (!needs_gradients(in)) return run_forward(readable(in), /*keep_states=*/false, {}, isa).y;
  return SelectiveScanFunction::apply(in.x, in.dt, in.b, in.c, in.z, in.a_log, in.d, in.dt_bias,
                                      in.starts, static_cast<int64_t>(isa));
}

ScanOutputs selective_scan_with_state(const SelectiveScanInputs& in, const Tensor& final_state,
                                      cpu::Isa isa) {
  check_inputs(in);
  WEFT_CHECK(!needs_gradients(in), "selective_scan_with_state has no gradients");
  expect("final_state", final_state, {in.x.size(0), in.x.size(2), in.b.size(2)},
         in.a_log.scalar_type(), in.x.device());
  WEFT_CHECK(final_state.is_contiguous(), "final_state has gaps: ", final_state.strides());
  if (has_kernels_for(in.x) && in.x.size(1) > 0) {
    return {run_forward(readable(in), /*keep_states=*/false, final_state, isa).y, final_state};
  }
  const ScanOutputs out = selective_scan_with_state_reference(in);
  final_state.copy_(out.final_state);
  return {out.y, final_state};
}

ScanOutputs selective_scan_with_state(const SelectiveScanInputs& in, cpu::Isa isa) {
  WEFT_CHECK(in.x.dim() == 3 && in.b.dim() == 3, "selective_scan: x and b have three dimensions");
  const std::array<int64_t, 3> sizes = {in.x.size(0), in.x.size(2), in.b.size(2)};
  return selective_scan_with_state(in, at::empty(sizes, in.a_log.options()), isa);
}

}  // namespace weft
