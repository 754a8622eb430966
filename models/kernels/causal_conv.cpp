#include "models/kernels/causal_conv.h"

#include <array>
#include <optional>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/causal_conv.h"
#include "models/kernels/cuda/causal_conv.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"
#include "models/kernels/partials.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::ScalarType compute_type(const Tensor& x) { return wide_type(x.scalar_type()); }

void check_inputs(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& starts) {
  const at::ScalarType storage = x.scalar_type();
  WEFT_CHECK(is_storage(storage), "causal_conv_silu is for fp32, fp64 and bf16");
  WEFT_CHECK(x.dim() == 3 && weight.dim() == 2 && weight.size(0) == x.size(2) &&
                 weight.size(1) >= 1 && weight.device() == x.device(),
             "causal_conv_silu of x ", x.sizes(), " with a weight of ", weight.sizes(), " on ",
             weight.device());
  WEFT_CHECK(!bias.defined() || (bias.sizes() == x.sizes().slice(2) && bias.device() == x.device()),
             "causal_conv_silu: bias must be [", x.size(2), "] on ", x.device());
  for (const Tensor* t : {&weight, &bias}) {
    WEFT_CHECK(!t->defined() || t->scalar_type() == storage || t->scalar_type() == compute_type(x),
               "causal_conv_silu: weight and bias must be of x's type or fp32, not ",
               t->scalar_type());
  }
  WEFT_CHECK(starts.sizes() == x.sizes().slice(0, 2) && starts.scalar_type() == at::kBool &&
                 starts.device() == x.device(),
             "causal_conv_silu: starts must be bool ", x.sizes().slice(0, 2), " on ", x.device(),
             ", not ", starts.scalar_type(), " ", starts.sizes());
}

void check_window(const Tensor& x, const Tensor& weight, const Tensor& window) {
  const std::array<int64_t, 3> sizes = {x.size(0), weight.size(1) - 1, x.size(2)};
  WEFT_CHECK(
      window.defined() && window.sizes() == at::IntArrayRef(sizes) && window.is_contiguous() &&
          window.scalar_type() == x.scalar_type() && window.device() == x.device(),
      "causal_conv_silu_with_state: window is ", window.defined() ? window.toString() : "undefined",
      " ", window.defined() ? window.sizes() : at::IntArrayRef{}, ", expected contiguous ",
      x.toString(), " ", at::IntArrayRef(sizes));
}

bool needs_gradients(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const bool any =
      x.requires_grad() || weight.requires_grad() || (bias.defined() && bias.requires_grad());
  return any && at::GradMode::is_enabled();
}

// As the kernels read them: rows of x, the others dense, parameters in the type of sums.
struct Readable {
  Tensor x, weight, bias, starts;
};

Readable readable(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& starts) {
  const at::ScalarType compute = compute_type(x);
  return {with_dense_rows(x), weight.to(compute).contiguous(),
          bias.defined() ? bias.to(compute).contiguous() : bias, starts.contiguous()};
}

template <class S>
ConvInputs<S> raw(const Readable& in) {
  using C = Compute<S>;
  return {.shape = {in.x.size(0), in.x.size(1), in.x.size(2), in.weight.size(1)},
          .x = rows<const S>(in.x),
          .weight = values<C>(in.weight),
          .bias = in.bias.defined() ? values<C>(in.bias) : nullptr,
          .starts = values<bool>(in.starts)};
}

// The pass that `conv` is of (Forward or Backward), on the device that x is on.
template <class Pass>
void launch(const Pass& conv, const Tensor& x, cpu::Isa isa) {
  on_device(
      "causal_conv_silu", x, [&](auto stream) { cuda::causal_conv(conv, stream); },
      [&] { cpu::causal_conv(conv, isa); });
}

Tensor run_forward(const Readable& in, cpu::Isa isa) {
  const Tensor y = at::empty(in.x.sizes(), in.x.options());
  const ProfileSpan span("weft::causal_conv_silu", WorkKind::kConvolution, moving({in.x, y}));
  with_storage(in.x, [&](auto storage) {
    using S = decltype(storage);
    launch(ConvForward<S>{raw<S>(in), rows<S>(y)}, in.x, isa);
  });
  return y;
}

// One token on the CPU.
Tensor run_step(const Readable& in, const Tensor& window, cpu::Isa isa) {
  const Tensor y = at::empty(in.x.sizes(), in.x.options());
  with_storage(in.x, [&](auto storage) {
    using S = decltype(storage);
    cpu::causal_conv(ConvStep<S>{raw<S>(in), rows<S>(y), values<S>(window)}, isa);
  });
  return y;
}

// Gradients of x, weight and bias, all in the types of `in`.
variable_list run_backward(const Readable& in, const Tensor& dy, cpu::Isa isa) {
  const int64_t batch = in.x.size(0), time = in.x.size(1), channels = in.x.size(2);
  const int64_t tiles = batch * ((time + kConvSteps - 1) / kConvSteps);
  const Tensor dx = at::empty(in.x.sizes(), in.x.options());
  const Tensor dweight = at::empty({tiles, channels, in.weight.size(1)}, in.weight.options());
  const Tensor dbias = at::empty({tiles, channels}, in.weight.options());
  const ProfileSpan span("weft::causal_conv_silu_backward", WorkKind::kConvolution,
                         moving({in.x, dy, dx, dweight}));
  with_storage(in.x, [&](auto storage) {
    using S = decltype(storage);
    using C = Compute<S>;
    const ConvBackward<S> conv{.in = raw<S>(in),
                               .dy = rows<const S>(dy),
                               .dx = rows<S>(dx),
                               .dweight = values<C>(dweight),
                               .dbias = values<C>(dbias)};
    launch(conv, in.x, isa);
  });
  return {dx, sum_partials(dweight, in.weight),
          in.bias.defined() ? sum_partials(dbias, in.bias) : Tensor{}};
}

// Whatever T is: the window and x in one sequence.
Tensor convolve_with_window(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const Tensor& starts, Tensor& window, cpu::Isa isa) {
  const int64_t time = x.size(1), kept = window.size(1);
  const Tensor inputs = at::cat({window, x}, 1);  // [Bz, K-1+T, D]
  const Tensor all_starts = at::cat({at::zeros({x.size(0), kept}, starts.options()), starts}, 1);
  const Tensor y = causal_conv_silu(inputs, weight, bias, all_starts, isa).narrow(1, kept, time);
  if (kept > 0) {
    const Tensor document = all_starts.cumsum(1);
    const Tensor others =
        document.narrow(1, time, kept) != document.narrow(1, kept + time - 1, 1);  // [Bz, K-1]
    window.copy_(inputs.narrow(1, time, kept).masked_fill(others.unsqueeze(-1), 0));
  }
  return y;
}

class CausalConvFunction final : public torch::autograd::Function<CausalConvFunction> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& maybe_bias, const Tensor& starts,
                        int64_t isa) {
    const Tensor bias = maybe_bias.value_or(Tensor{});
    const Readable in = readable(x, weight, bias, starts);
    ctx->save_for_backward({in.x, in.weight, in.bias, in.starts});
    ctx->saved_data["isa"] = isa;
    ctx->saved_data["weight_type"] = static_cast<int64_t>(weight.scalar_type());
    if (bias.defined()) {
      ctx->saved_data["bias_type"] = static_cast<int64_t>(bias.scalar_type());
    }
    return run_forward(in, static_cast<cpu::Isa>(isa));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "causal_conv_silu is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    const auto type = [&](const char* key) {
      return static_cast<at::ScalarType>(ctx->saved_data[key].toInt());
    };
    variable_list out =
        run_backward({saved[0], saved[1], saved[2], saved[3]}, grads[0].contiguous(),
                     static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt()));
    out[1] = out[1].to(type("weight_type"));
    if (out[2].defined()) out[2] = out[2].to(type("bias_type"));
    out.resize(5);  // starts and isa have no gradient
    return out;
  }
};

}  // namespace

Tensor causal_conv_silu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Tensor& starts, cpu::Isa isa) {
  check_inputs(x, weight, bias, starts);
  if (!has_kernels_for(x)) return causal_conv_silu_reference(x, weight, bias, starts);
  if (!needs_gradients(x, weight, bias)) {
    return run_forward(readable(x, weight, bias, starts), isa);
  }
  const std::optional<Tensor> maybe_bias = bias.defined() ? std::optional(bias) : std::nullopt;
  return CausalConvFunction::apply(x, weight, maybe_bias, starts, static_cast<int64_t>(isa));
}

Tensor causal_conv_silu_with_state(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                   const Tensor& starts, Tensor& window, cpu::Isa isa) {
  check_inputs(x, weight, bias, starts);
  check_window(x, weight, window);
  WEFT_CHECK(!needs_gradients(x, weight, bias) && !window.requires_grad(),
             "causal_conv_silu_with_state has no gradients");
  if (x.is_cpu() && x.size(1) == 1 && x.numel() > 0) {
    return run_step(readable(x, weight, bias, starts), window, isa);
  }
  return convolve_with_window(x, weight, bias, starts, window, isa);
}

}  // namespace weft
