#include "models/kernels/ssd.h"

#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/ssd_chunks.h"

namespace weft {
namespace {

using internal::ssd_passes;
using internal::SsdGradients;
using internal::SsdPass;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void expect(const char* name, const Tensor& t, at::IntArrayRef sizes, at::ScalarType type,
            at::Device device) {
  WEFT_CHECK(t.defined() && t.sizes() == sizes && t.scalar_type() == type && t.device() == device,
             "ssd: ", name, " is ", t.defined() ? t.toString() : "undefined", " ",
             t.defined() ? t.sizes() : at::IntArrayRef{}, ", expected ", at::toString(type), " ",
             sizes, " on ", device);
}

void check_inputs(const SsdInputs& in, int64_t chunk_size) {
  WEFT_CHECK(chunk_size > 0, "ssd: chunks of ", chunk_size, " tokens");
  WEFT_CHECK(in.x.defined() && in.x.dim() == 4 && in.b.defined() && in.b.dim() == 4,
             "ssd: x and b have four dimensions");
  const int64_t batch = in.x.size(0), time = in.x.size(1), heads = in.x.size(2);
  const int64_t groups = in.b.size(2), states = in.b.size(3);
  WEFT_CHECK(groups > 0 && heads % groups == 0, "ssd: ", heads, " heads in ", groups, " groups");
  const at::ScalarType storage = in.x.scalar_type();
  WEFT_CHECK(is_storage(storage), "ssd is for fp32, fp64 and bf16");
  const at::ScalarType compute = wide_type(storage);
  const at::Device device = in.x.device();
  expect("dt", in.dt, {batch, time, heads}, compute, device);
  expect("a", in.a, {heads}, compute, device);
  expect("b", in.b, {batch, time, groups, states}, storage, device);
  expect("c", in.c, {batch, time, groups, states}, storage, device);
  expect("d", in.d, {heads}, compute, device);
  expect("starts", in.starts, {batch, time}, at::kBool, device);
  if (!in.initial_state.defined()) return;
  expect("initial_state", in.initial_state, {batch, heads, in.x.size(3), states}, compute, device);
  WEFT_CHECK(!in.initial_state.requires_grad(), "ssd is not differentiable in initial_state");
}

// [Bz, Hs, P, N]: the state before token 0, 0 in rows where that starts a document.
Tensor first_state(const SsdInputs& in) {
  if (!in.initial_state.defined()) {
    return at::zeros({in.x.size(0), in.x.size(2), in.x.size(3), in.b.size(3)}, in.dt.options());
  }
  if (in.x.size(1) == 0) return in.initial_state.clone();
  const Tensor starts = in.starts.select(1, 0).reshape({-1, 1, 1, 1});
  return in.initial_state.masked_fill(starts, 0);
}

// One step of the recurrence, for decoding.
SsdOutputs one_token(const SsdInputs& in) {
  const at::ScalarType compute = in.dt.scalar_type();
  const int64_t batch = in.x.size(0), heads = in.x.size(2), width = in.x.size(3);
  const int64_t groups = in.b.size(2), states = in.b.size(3);
  const Tensor x = in.x.squeeze(1).to(compute);                // [Bz, Hs, P]
  const Tensor b = in.b.squeeze(1).to(compute).unsqueeze(2);   // [Bz, G, 1, N]
  const Tensor c = in.c.squeeze(1).to(compute).unsqueeze(-1);  // [Bz, G, N, 1]
  const Tensor dt = in.dt.reshape({batch, heads, 1});
  const Tensor u = (dt * x).reshape({batch, groups, heads / groups * width, 1});
  Tensor h = (u * b).reshape({batch, heads, width, states});
  if (in.initial_state.defined()) {
    h.addcmul_((dt * in.a.unsqueeze(-1)).exp_().unsqueeze(-1), first_state(in));
  }
  const Tensor y = at::matmul(h.view({batch, groups, heads / groups * width, states}), c)
                       .view({batch, heads, width})
                       .addcmul_(x, in.d.unsqueeze(-1));
  return {y.to(in.x.scalar_type()).unsqueeze(1), h};
}

struct Output {
  SsdOutputs outputs;
  Tensor entering;  // [Bz, chunks, Hs, P, N]: the states that enter the chunks; undefined where not
                    // kept
};

Output run_forward(const SsdInputs& in, int64_t chunk_size, bool keep_states) {
  Output out{{at::empty(in.x.sizes(), in.x.options()), first_state(in)}, {}};
  const Tensor& final_state = out.outputs.final_state;
  if (keep_states) {
    std::vector<int64_t> sizes = final_state.sizes().vec();
    sizes.insert(sizes.begin() + 1, (in.x.size(1) + chunk_size - 1) / chunk_size);
    out.entering = at::empty(sizes, final_state.options());
  }
  if (in.x.numel() == 0) return out;
  for (const SsdPass& pass : ssd_passes(in, chunk_size)) {
    const Tensor rows = final_state.narrow(0, pass.row, pass.rows);
    Tensor state = rows;
    const Tensor entering = internal::ssd_forward(in, pass, out.outputs.y, state);
    rows.copy_(state);
    if (keep_states) {
      out.entering.narrow(0, pass.row, pass.rows)
          .narrow(1, pass.chunk, pass.chunks)
          .copy_(entering);
    }
  }
  return out;
}

variable_list run_backward(const SsdInputs& in, int64_t chunk_size, const Tensor& entering,
                           const Tensor& dy) {
  const auto same = [](const Tensor& t) { return at::zeros(t.sizes(), t.options()); };
  const SsdGradients grads{same(in.x), same(in.dt), same(in.b),
                           same(in.c), same(in.dt), same(in.dt)};
  if (in.x.numel() > 0) {
    // The gradient of the state between the passes; nothing is asked of a row's last one.
    const Tensor dstate = at::zeros(entering.select(1, 0).sizes(), in.dt.options());
    const std::vector<SsdPass> passes = ssd_passes(in, chunk_size);
    for (auto pass = passes.rbegin(); pass != passes.rend(); ++pass) {
      const Tensor rows = dstate.narrow(0, pass->row, pass->rows);
      Tensor state = rows;
      const Tensor states =
          entering.narrow(0, pass->row, pass->rows).narrow(1, pass->chunk, pass->chunks);
      internal::ssd_backward(in, *pass, states, dy, state, grads);
      rows.copy_(state);
    }
  }
  return {grads.x, grads.dt, grads.da.sum(at::IntArrayRef{0, 1}),
          grads.b, grads.c,  grads.dd.sum(at::IntArrayRef{0, 1})};
}

class SsdFunction final : public torch::autograd::Function<SsdFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& dt,
                               const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d,
                               const Tensor& starts, const Tensor& state, int64_t chunk_size) {
    const Output out =
        run_forward({x, dt, a, b, c, d, starts, state}, chunk_size, /*keep_states=*/true);
    ctx->save_for_backward({x, dt, a, b, c, d, starts, out.entering});
    ctx->saved_data["chunk_size"] = chunk_size;
    ctx->mark_non_differentiable({out.outputs.final_state});
    return {out.outputs.y, out.outputs.final_state};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list p = ctx->get_saved_variables();
    const SsdInputs in{p[0], p[1], p[2], p[3], p[4], p[5], p[6], {}};
    variable_list out = run_backward(in, ctx->saved_data["chunk_size"].toInt(), p.back(), grads[0]);
    out.resize(9);  // starts, state and chunk_size have no gradient
    return out;
  }
};

}  // namespace

SsdOutputs ssd(const SsdInputs& in, int64_t chunk_size) {
  check_inputs(in, chunk_size);
  bool differentiate = false;
  for (const Tensor* t : {&in.x, &in.dt, &in.a, &in.b, &in.c, &in.d}) {
    differentiate |= t->requires_grad();
  }
  if (!differentiate || !at::GradMode::is_enabled()) {
    if (in.x.size(1) == 1) return one_token(in);
    return run_forward(in, chunk_size, /*keep_states=*/false).outputs;
  }
  const Tensor state = first_state(in);
  const variable_list out =
      SsdFunction::apply(in.x, in.dt, in.a, in.b, in.c, in.d, in.starts, state, chunk_size);
  return {out[0], out[1]};
}

}  // namespace weft
